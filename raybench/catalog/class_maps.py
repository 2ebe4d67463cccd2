"""Maps between label sets: groups of ImageNet-1k classes under everyday names."""

from collections.abc import Mapping

from raybench.core.registry import Registry

CLASS_MAPS: Registry[Mapping[str, tuple[int, ...]]] = Registry("class map")

_NOT_DOGS = {192, 204, 227, 242, 251, 258, 260, 264}
CLASS_MAPS.add(
    "imagenet_16",
    {
        "airplane": (404,),
        "bear": (294, 295, 296, 297),
        "bicycle": (444, 671),
        "bird": (
            *(8, *range(10, 17), 18, 19, 20, 22, 23, 24, *range(80, 84), *range(87, 97), 98, 99, 100),
            *(*range(127, 134), *range(135, 146)),
        ),
        "boat": (472, 554, 625, 814, 914),
        "bottle": (440, 720, 737, 898, 899, 901, 907),
        "car": (436, 511, 817),
        "cat": (281, 282, 283, 284, 285, 286),
        "chair": (423, 559, 765, 857),
        "clock": (409, 530, 892),
        "dog": tuple(i for i in range(152, 269) if i not in _NOT_DOGS),
        "elephant": (385, 386),
        "keyboard": (508, 878),
        "knife": (499,),
        "oven": (766,),
        "truck": (555, 569, 656, 675, 717, 734, 864, 867),
    },
)
"""The 16 categories of Geirhos et al., "ImageNet-trained CNNs are biased towards texture", ICLR 2019: the
lists published with their stimuli. A number is a class's index in the 1,000 sorted WordNet ids."""
