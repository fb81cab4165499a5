"""Shapes, colours and builds that drawn animals and their surroundings are made of."""

from typing import NamedTuple

from semexplain.data.drawn.animal_figures import Chance, Figure, Joint, Point
from semexplain.data.drawn.colours import BLACK, COATS, HORN, PINK, WHITE
from semexplain.data.drawn.folder import Colour, mix
from semexplain.data.pascal_annotations import Category


class _Build(NamedTuple):
    """What a four-legged animal looks like; lengths in units of a figure."""

    back: int  # between shoulder and hip
    chest: int
    belly: int  # radius at the hip
    leg: int
    thick: int  # radius of a leg
    necks: tuple[Point, ...]  # from the shoulder to the middle of the head
    throat: int
    skull: int
    snout: Point
    nose: int  # radius of the snout's end
    sits: int  # in this many of a hundred pictures
    frontal: int  # looks at the viewer in this many of a hundred pictures


BUILDS: dict[Category, _Build] = {
    "cat": _Build(330, 92, 96, 170, 27, ((110, -130), (140, -90)), 62, 102, (62, 40), 34, 40, 60),
    "cow": _Build(450, 150, 142, 300, 36, ((190, -130), (230, -50), (230, 200)), 88, 88, (120, 90), 58, 0, 45),
    "dog": _Build(370, 112, 92, 240, 34, ((130, -170), (170, -110)), 66, 98, (150, 52), 42, 30, 45),
    "horse": _Build(430, 128, 128, 370, 32, ((210, -290), (270, -210), (300, 200)), 74, 72, (120, 160), 46, 0, 15),
    "sheep": _Build(290, 150, 152, 215, 24, ((180, -120), (210, -40), (220, 150)), 84, 72, (72, 78), 40, 0, 45),
}


def bird(figure: Figure, chance: Chance) -> None:
    """Draw a bird that stands or flies."""
    coat = chance.shade(chance.pick(COATS["bird"]))
    breast = mix(coat, chance.pick((WHITE, (222, 142, 74))), 55)
    plumes, horny = mix(coat, BLACK, 35), chance.pick(((226, 150, 40), (70, 66, 62), (190, 120, 80)))
    flies, tilt, fan = chance.percent(40), chance.between(-50, 40), chance.between(20, 60)
    head_x, head_y = 165 + chance.between(-20, 30), -400 + tilt // 2 + chance.between(-20, 20)
    if flies:
        figure.polygon("lwing", [(20, -270), (120, -280), (130, -560), (30, -690), (-40, -640), (-60, -460)], plumes)
    figure.polygon("tail", [(-130, -210), (-430, -190 - tilt - fan), (-450, -130 - tilt + fan), (-120, -130)], plumes)
    for side, x in (("l", 40), ("r", -30)):
        swing = chance.between(-25, 25)
        figure.limb(f"{side}leg", [(x, -130, 22), (x + swing, -20, 11)], horny)
        for toe in (-60, 45, 75):
            figure.limb(f"{side}foot", [(x + swing, -16, 10), (x + swing + toe, -4, 7)], horny)
    figure.limb("torso", [(-130, -190, 75), (60, -240, 125)], coat)
    figure.ellipse("torso", 90, -205, 70, 80, breast)
    figure.limb("neck", [(100, -300, 75), (head_x, head_y, 62)], coat)
    figure.limb("beak", [(head_x + 60, head_y + 5, 34), (head_x + chance.between(130, 190), head_y + 25, 5)], horny)
    figure.disc("head", head_x, head_y, 86, 80, coat)
    _eye(figure, "reye", head_x + 28, head_y - 18, 20, (236, 190, 60))
    if flies:
        figure.polygon("rwing", [(60, -230), (-60, -240), (-330, -560), (-250, -640), (-90, -600), (90, -360)], plumes)
        figure.line("rwing", [(40, -270, 6), (-220, -580, 6)], mix(plumes, BLACK, 50))
    else:
        wing = [(80, -250 + tilt // 4, 62), (-60, -210, 60), (-260, -165 - tilt // 2, 12)]
        figure.limb("rwing", wing, plumes)
        figure.line("rwing", [(20, -200, 6), (-180, -170, 6)], mix(plumes, BLACK, 50))


def quadruped(figure: Figure, category: Category, chance: Chance) -> None:
    """Draw an animal on four legs."""
    build = BUILDS[category]
    coat = chance.shade(chance.pick(COATS[category]))
    mark = mix(coat, BLACK, 65) if sum(coat) > 270 else mix(coat, WHITE, 70)
    skin = chance.pick((coat, mix(coat, BLACK, 78), mix(coat, PINK, 35))) if category == "sheep" else coat
    sits = chance.percent(build.sits)
    leg = build.leg * chance.between(85, 115) // 100
    front, hind = build.back // 2, -build.back // 2
    chest_y = -leg - build.chest // 3
    hip_y = -build.belly if sits else -leg - build.belly // 3
    if sits:
        front, chest_y = front - build.back // 4, chest_y - build.chest // 3

    _tail(figure, category, hind - build.belly, hip_y, mix(coat, mark, 30), chance)
    for side in "lr":
        shade = mix(skin, BLACK, 28 if side == "l" else 6)
        offset = build.thick * 2 if side == "l" else 0
        _leg(figure, category, f"{side}f", front + offset, chest_y + build.chest // 3, shade, chance)
        if not sits:
            _leg(figure, category, f"{side}b", hind + offset, hip_y + build.belly // 3, shade, chance)
        elif side == "l":
            _paw(figure, category, "lb", hind + 150, shade)
        if side == "l":
            _torso(figure, category, (hind, hip_y), (front, chest_y), coat, mark, chance)
    if sits:
        thigh = build.belly * 3 // 4
        figure.limb("rbleg", [(hind + 20, -thigh, thigh), (hind + 110, -30, 26)], mix(coat, BLACK, 6))
        _paw(figure, category, "rb", hind + 130, mix(coat, BLACK, 6))

    right, down = chance.pick(build.necks)
    x = front + right + chance.between(-20, 20)
    y = chest_y - build.chest // 3 + down + chance.between(-20, 20)
    if category == "horse":
        figure.line("neck", [(front - 30, chest_y - 90, 60), (x - 50, y - 30, 40)], mix(coat, BLACK, 70))
    throat = [(front + 10, chest_y, build.chest * 3 // 4), (x, y, build.throat)]
    figure.limb("neck", throat, coat)
    _head(figure, category, x, y, down > 0, skin, mark, chance)


def _tail(figure: Figure, category: Category, x: int, y: int, colour: Colour, chance: Chance) -> None:
    swing = chance.between(-60, 40)
    match category:
        case "cat":
            up = chance.pick((-1, 1))
            end = (x - 90 + swing, y - 250) if up > 0 else (x - 220 + swing, y + 130)
            joints = [(x + 40, y, 26), (x - 100, y - 40 * up, 24), (x - 150 + swing, y - 160 * up, 22), (*end, 18)]
            figure.limb("tail", [(u, min(v, -30), radius) for u, v, radius in joints], colour)
        case "dog":
            figure.limb("tail", [(x + 40, y - 20, 28), (x - 70, y - 110, 24), (x - 90 + swing, y - 210, 10)], colour)
        case "horse":
            joints = [(x + 30, y - 60, 26), (x - 60, y + 20, 46), (x - 80 + swing, y + 230, 40)]
            figure.limb("tail", joints, mix(colour, BLACK, 60))
        case "cow":
            end = (x - 50 + swing, y + 200)
            figure.limb("tail", [(x + 20, y - 90, 16), (x - 45, y, 13), (*end, 11)], colour)
            figure.limb("tail", [(*end, 24), (end[0], end[1] + 50, 18)], mix(colour, BLACK, 50))
        case _:
            figure.limb("tail", [(x + 20, y - 40, 40), (x - 45, y + 60, 30)], colour)


def _leg(figure: Figure, category: Category, name: str, x: int, y: int, colour: Colour, chance: Chance) -> None:
    """From the body at (x, y) to the ground."""
    thick = BUILDS[category].thick
    knee, foot = x + chance.between(-30, 40), x + chance.between(-60, 50)
    middle = y * 45 // 100
    upper = [(x, y, thick * 3 // 2), (knee, middle, thick)]
    lower = [(knee, middle, thick), (foot, -thick, thick * 3 // 4)]
    if category in ("cat", "dog"):
        figure.limb(f"{name}leg", [*upper, lower[1]], colour)
        _paw(figure, category, name, foot + thick // 2, colour)
        return
    figure.limb(f"{name}lleg", lower, colour)
    figure.limb(f"{name}uleg", upper, colour)
    hoof = f"{name}ho" if category == "horse" else f"{name}lleg"
    points = [(foot - thick, 0), (foot - thick * 3 // 4, -thick * 3 // 2), (foot + thick, -thick * 3 // 2)]
    figure.polygon(hoof, [*points, (foot + thick * 3 // 2, 0)], mix(colour, BLACK, 72))


def _paw(figure: Figure, category: Category, name: str, x: int, colour: Colour) -> None:
    thick = BUILDS[category].thick
    figure.disc(f"{name}pa", x, -thick * 3 // 4, thick * 3 // 2, thick * 3 // 4, mix(colour, WHITE, 35))


def _torso(
    figure: Figure, category: Category, hip: Point, shoulder: Point, coat: Colour, mark: Colour, chance: Chance
) -> None:
    build = BUILDS[category]
    ends = ((*hip, build.belly), (*shoulder, build.chest))
    if category == "sheep":
        for x in range(hip[0] - 60, shoulder[0] + 110, 85):
            for y in (hip[1] - 100, hip[1] + 95):
                figure.disc("torso", x, y, 70, 66, coat)
        for y in (-60, 30):
            for x in (hip[0] - 110, shoulder[0] + 110):
                figure.disc("torso", x, hip[1] + y, 68, 68, coat)
        figure.line("torso", ends, coat)
        for _ in range(7):
            x, y = chance.between(hip[0] - 40, shoulder[0] + 40), hip[1] + chance.between(-100, 90)
            figure.ellipse("torso", x, y, 40, 36, mix(coat, BLACK, 14))
            figure.ellipse("torso", x - 6, y - 8, 36, 32, coat)
        return
    if category == "cow":
        figure.disc("torso", hip[0] + 70, hip[1] + build.belly, 52, 40, PINK)
    figure.limb("torso", ends, coat)
    along = [(hip[0] + (shoulder[0] - hip[0]) * t // 6, hip[1] + (shoulder[1] - hip[1]) * t // 6) for t in range(7)]
    spots, stripes = chance.percent(35), chance.percent(70)
    if category == "cow" or (category == "dog" and spots):
        for t in (0, 3, 6):
            x, y = along[t]
            width, height = chance.between(build.chest // 3, build.chest * 2 // 3), chance.between(40, build.chest // 2)
            figure.ellipse("torso", x + chance.between(-20, 20), y + chance.between(-40, 20), width, height, mark)
    elif category == "cat" and stripes:
        for x, y in along[:6]:
            figure.line("torso", [(x + 18, y - build.belly + 14, 11), (x, y - 20, 5)], mark)


def _eye(figure: Figure, part: str, x: int, y: int, radius: int, iris: Colour) -> None:
    figure.ellipse(part, x, y, radius + 7, radius + 5, BLACK)
    figure.ellipse(part, x, y, radius, radius, iris)
    figure.ellipse(part, x, y, radius * 5 // 9, radius * 2 // 3, BLACK)
    figure.ellipse(part, x - radius // 3, y - radius // 3, radius // 4, radius // 4, WHITE)


def _head(
    figure: Figure, category: Category, x: int, y: int, grazes: bool, skin: Colour, mark: Colour, chance: Chance
) -> None:
    build = BUILDS[category]
    skull, (long, deep) = build.skull, build.snout
    iris = chance.pick(((96, 62, 32), (190, 150, 50), (110, 150, 80)) if category == "cat" else ((96, 62, 32),))
    drooping, horned, blaze = chance.percent(60), chance.percent(45), chance.percent(40)
    # Where eyes and ears are, in hundredths of the skull to the right, and to which side an ear points.
    if chance.percent(build.frontal) and not grazes:
        eyes, ears, far, near = {"r": -45, "l": 45}, {"r": (-70, -1), "l": (70, 1)}, "", "rl"
        tip = (x, y + max(long, deep) * 3 // 4)
    else:
        eyes, ears, far, near = {"r": 30}, {"r": (-45, -1), "l": (15, 1)}, "l", "r"
        tip = (x + long * 2 // 3, y + max(long, deep)) if grazes else (x + long, y + deep)
    middle = ((x + tip[0]) // 2, (y + tip[1]) // 2)

    def at(right: int, up: int, radius: int) -> Joint:
        return x + skull * right // 100, y - skull * up // 100, radius

    def ear(side: str) -> None:
        (u, out), part = ears[side], f"{side}ear"
        tint = mix(skin, BLACK, 25 if side in far else 0)
        match category:
            case "cat":
                figure.limb(part, [at(u, 60, 40), at(u + 22 * out, 150, 4)], tint)
                figure.line(part, [at(u, 70, 18), at(u + 16 * out, 125, 2)], PINK)
            case "dog" if drooping:
                figure.limb(part, [at(u, 65, 30), at(u + 50 * out, -60, 40)], mix(tint, mark, 60))
            case "dog":
                figure.limb(part, [at(u, 75, 34), at(u + 10 * out, 165, 5)], tint)
            case "horse":
                figure.limb(part, [at(u, 75, 24), at(u + 14 * out, 190, 5)], tint)
            case _:
                figure.limb(part, [at(u, 45, 24), at(u + 90 * out, 35, 30), at(u + 150 * out, 0, 8)], tint)

    def horn(side: str) -> None:
        (u, out), part = ears[side], f"{side}horn"
        if category == "cow" and horned:
            figure.limb(part, [at(u, 75, 22), at(u + 85 * out, 120, 16), at(u + 110 * out, 220, 4)], HORN)
        elif category == "sheep" and horned:
            joints = [at(u, 75, 26), at(u + 100 * out, 130, 24), at(u + 170 * out, 45, 18), at(u + 145 * out, -55, 6)]
            figure.limb(part, joints, HORN)

    for side in far:
        ear(side)
        horn(side)
    if category in ("cat", "dog"):
        figure.disc("head", x, y, skull * 108 // 100, skull * 95 // 100, skin)
    else:
        figure.limb("head", [(x, y, skull), (*middle, (skull + build.nose) // 2)], skin)
    if blaze and category in ("cow", "dog", "horse"):
        figure.line("head", [(*middle, skull // 5), ((3 * x + tip[0]) // 4, y - skull // 2, skull // 6)], WHITE)
    if category == "sheep":
        figure.disc("head", x - 10, y - skull * 80 // 100, 56, 40, mix(skin, WHITE, 50))
    _snout(figure, category, middle, tip, skin)
    for side in near:
        ear(side)
        horn(side)
    for side, u in eyes.items():
        _eye(figure, f"{side}eye", *at(u, 15, 19 if category == "horse" else 22), iris)


def _snout(figure: Figure, category: Category, middle: Point, tip: Point, skin: Colour) -> None:
    nose = BUILDS[category].nose
    dark = mix(skin, BLACK, 80)
    if category == "cat":
        x, y = (middle[0] + tip[0]) // 2, (middle[1] + tip[1]) // 2
        figure.ellipse("head", x, y + 14, 46, 32, mix(skin, WHITE, 45))
        figure.line("head", [(x, y + 10, 4), (x, y + 30, 4)], dark)
        figure.polygon("nose", [(x - 26, y - 16), (x + 26, y - 16), (x, y + 14)], (196, 96, 96))
        return
    if category == "dog":
        figure.limb("muzzle", [(*middle, nose + 14), (*tip, nose)], mix(skin, WHITE, 28))
        figure.line("muzzle", [(tip[0] - 4, tip[1] + 26, 5), (middle[0], middle[1] + 38, 5)], dark)
        figure.ellipse("nose", tip[0] + 4, tip[1] - 14, 32, 26, BLACK)
        figure.ellipse("nose", tip[0] - 4, tip[1] - 22, 8, 6, WHITE)
        return
    pale = mix(skin, PINK, 65) if category == "cow" else mix(skin, BLACK, 35)
    figure.limb("muzzle", [((middle[0] + 2 * tip[0]) // 3, (middle[1] + 2 * tip[1]) // 3, nose), (*tip, nose)], pale)
    for right in (-nose // 2, nose // 2):
        figure.ellipse("muzzle", tip[0] + right, tip[1] - 4, nose // 5, nose // 4, BLACK)
