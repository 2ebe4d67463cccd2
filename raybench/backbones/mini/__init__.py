"""Small backbones pretrained on CIFAR-10, made by `python -m raybench.backbones.mini.pretrain NAME`."""
