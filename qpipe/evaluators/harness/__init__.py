"""Tasks of lm-evaluation-harness on the models that qpipe makes.

``local``          task folders of the user's own, checked: data, no code
``load``           tasks by name, sandboxed; why one cannot be had
``continuations``  log-probabilities of continuations, prompts sharing what they begin with
``generation``     greedy texts, many at once
``greedy``         which settings of a generation there are
``effects``        settings that tasks have no use for
``members``        which tasks are in a group, for plans
``words``          what a GGUF file's tokens and prompts are
``gguf``           an lm-eval ``LM`` over these three
``checkpoints``    lm-eval's HFLM on a checkpoint folder
``journal``        answers kept as they come, so that a killed evaluation goes on from there
``results``        from lm-eval's results to scores, and items one by one

The package imports nothing by itself; ``qpipe.evaluators.tasks`` imports it when it measures.
"""
