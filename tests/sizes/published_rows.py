"""Sizes that llama.cpp's own documents state: (type, importance matrix, GiB, bits per weight).

Llama 3.1 8B: tools/quantize/README.md, of tensors alone, as llama-bench tells them. Llama 3 8B:
tools/perplexity/README.md, of files. Llama 2 70B: the "old numbers" there, of mixtures of 2023.
"""

LLAMA_3_1_8B = (
    ("IQ1_S", False, 1.87, 2.0042), ("IQ1_M", False, 2.01, 2.1460),
    ("IQ2_XXS", False, 2.23, 2.3824), ("IQ2_XS", False, 2.42, 2.5882),
    ("IQ2_S", False, 2.56, 2.7403), ("IQ2_M", False, 2.74, 2.9294),
    ("IQ3_XXS", False, 3.04, 3.2548), ("IQ3_XS", False, 3.27, 3.4977),
    ("IQ3_S", False, 3.42, 3.6606), ("IQ3_M", False, 3.52, 3.7628),
    ("IQ4_XS", False, 4.17, 4.4597), ("IQ4_NL", False, 4.38, 4.6818),
    ("Q2_K_S", False, 2.78, 2.9697), ("Q2_K", False, 2.95, 3.1593),
    ("Q3_K_S", False, 3.41, 3.6429), ("Q3_K_L", False, 4.02, 4.2979),
    ("Q4_K_S", False, 4.36, 4.6672), ("Q4_K_M", False, 4.58, 4.8944),
    ("Q5_K_S", False, 5.21, 5.5704), ("Q5_K_M", False, 5.33, 5.7036),
    ("Q6_K", False, 6.14, 6.5633), ("Q8_0", False, 7.95, 8.5008), ("F16", False, 14.96, 16.0005),
)  # fmt: skip

# Not q2_K_S, of which the source has q2_K's size.
LLAMA_3_8B = (
    ("F16", False, 14.97), ("Q8_0", False, 7.96), ("Q6_K", False, 6.14), ("Q5_K_M", False, 5.33),
    ("Q5_K_S", False, 5.21), ("Q5_1", False, 5.65), ("Q5_0", False, 5.21), ("Q4_K_M", True, 4.58),
    ("Q4_K_M", False, 4.58), ("Q4_K_S", True, 4.37), ("IQ4_NL", True, 4.35),
    ("IQ4_XS", True, 4.14), ("Q4_K_S", False, 4.37), ("Q4_1", False, 4.78), ("Q4_0", False, 4.34),
    ("Q3_K_L", True, 4.03), ("Q3_K_M", True, 3.74), ("Q3_K_L", False, 4.03),
    ("Q3_K_M", False, 3.74), ("IQ3_M", True, 3.53), ("IQ3_S", True, 3.42), ("IQ3_XS", True, 3.28),
    ("IQ3_XXS", True, 3.05), ("Q3_K_S", True, 3.41), ("Q3_K_S", False, 3.41),
    ("IQ2_M", True, 2.74), ("Q2_K", True, 2.96), ("Q2_K", False, 2.96), ("IQ2_S", True, 2.56),
    ("IQ2_XS", True, 2.43), ("IQ2_XXS", True, 2.24), ("IQ1_M", True, 2.01), ("IQ1_S", True, 1.88),
)  # fmt: skip

# Not Q2_K and Q3_K_M, which had other types in 2023.
LLAMA_2_70B = (
    ("Q4_0", False, 36.20), ("Q4_1", False, 40.20), ("Q5_0", False, 44.20),
    ("Q3_K_S", False, 27.86), ("Q3_K_L", False, 33.67), ("Q4_K_S", False, 36.39),
    ("Q4_K_M", False, 38.54), ("Q5_K_S", False, 44.20), ("Q5_K_M", False, 45.41),
    ("Q6_K", False, 52.70), ("F16", False, 128.5),
)  # fmt: skip
