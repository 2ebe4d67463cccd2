"""The protocol `finetune`: recipe, training, optimiser, schedule, checkpoints."""
