"""Tasks of lm-evaluation-harness on the models that qpipe makes.

``task_folder``    task folders of the user's own, checked: data, no code
``task_index``     which tasks are in a group, for plans
``loader``         tasks by name, sandboxed; why one cannot be had
``settings``       settings of tasks: those without effect, and those of greedy texts
``evaluation``     lm-eval's evaluation, its answers kept so that a killed one goes on from there
``continuations``  log-probabilities of continuations, prompts sharing what they begin with
``generation``     greedy texts, many at once
``prompts``        a GGUF file's tokens, and prompts by the model's chat template
``gguf``           an lm-eval ``LM`` over these three
``checkpoints``    lm-eval's HFLM on a checkpoint folder
``results``        from lm-eval's results to scores, and items one by one

The package imports nothing by itself; ``qpipe.evaluators.tasks`` imports it when it measures.
"""
