"""Colours of drawn animals and of what is around them."""

from semexplain.data.drawn.folder import Colour
from semexplain.data.pascal_annotations import Category

BLACK: Colour = (14, 12, 14)
WHITE: Colour = (246, 244, 240)
PINK: Colour = (222, 156, 146)
HORN: Colour = (214, 198, 150)
SKIES: tuple[Colour, ...] = ((150, 190, 226), (206, 214, 220), (196, 178, 152), (120, 132, 120), (88, 96, 112))
GROUNDS: tuple[Colour, ...] = ((104, 140, 72), (150, 128, 92), (128, 128, 124), (92, 74, 58), (190, 174, 140))
COATS: dict[Category, tuple[Colour, ...]] = {
    "bird": ((62, 104, 176), (186, 54, 44), (226, 186, 56), (120, 118, 116), (112, 84, 58), (70, 134, 84)),
    "cat": ((214, 136, 62), (130, 130, 134), (62, 58, 60), (226, 206, 172), (150, 116, 84)),
    "cow": ((236, 232, 224), (140, 82, 46), (196, 158, 112), (70, 60, 56)),
    "dog": ((196, 148, 92), (122, 78, 46), (66, 58, 54), (236, 228, 214), (160, 156, 150)),
    "horse": ((134, 80, 46), (92, 58, 40), (66, 58, 56), (176, 172, 168), (198, 150, 96)),
    "sheep": ((236, 230, 216), (214, 204, 184), (182, 172, 156)),
}
ANY_COAT: tuple[Colour, ...] = tuple(colour for coats in COATS.values() for colour in coats)
