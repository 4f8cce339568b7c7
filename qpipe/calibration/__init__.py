"""The stages that look at a calibration text for the engines; the texts themselves are in text/."""
