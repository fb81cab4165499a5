"""What is drawn around animals, and in their place on negative pictures."""

from semexplain.data.drawn.animal_figures import Chance, Figure
from semexplain.data.drawn.colours import ANY_COAT, BLACK
from semexplain.data.drawn.folder import Colour, mix


def thing(chance: Chance) -> Figure:
    """Furniture, a plant or stones, in the colours of the animals."""
    figure = Figure()
    chance.pick((_table, _tree, _stones, _bush, _jug))(figure, chance.shade(chance.pick(ANY_COAT)), chance)
    return figure


def _table(figure: Figure, colour: Colour, chance: Chance) -> None:
    half, high = chance.between(250, 400), chance.between(250, 450)
    for x in (-half + 60, -half + 140, half - 140, half - 60):
        figure.limb("", [(x, -high, 30), (x + chance.between(-20, 20), -20, 22)], mix(colour, BLACK, 20))
    figure.limb("", [(-half, -high, 60), (half, -high, 60)], colour)
    if chance.percent(50):
        figure.limb("", [(half, -high, 50), (half + 30, -high - chance.between(150, 350), 40)], colour)
    if chance.percent(40):
        figure.disc("", chance.between(-150, 150), -high - 130, 90, 80, chance.pick(ANY_COAT))


def _tree(figure: Figure, colour: Colour, chance: Chance) -> None:
    figure.limb("", [(0, -20, 60), (chance.between(-60, 60), -450, 45)], mix(colour, BLACK, 45))
    for _ in range(chance.between(4, 7)):
        x, y = chance.between(-220, 220), chance.between(-700, -430)
        figure.disc("", x, y, chance.between(100, 170), chance.between(80, 140), colour)


def _stones(figure: Figure, colour: Colour, chance: Chance) -> None:
    for _ in range(chance.between(2, 4)):
        x, width, height = chance.between(-300, 300), chance.between(120, 260), chance.between(100, 220)
        figure.disc("", x, -height, width, height, chance.shade(colour))
        for _ in range(chance.between(0, 3)):
            hole = chance.between(15, 35)
            figure.ellipse("", x + chance.between(-70, 70), -height + chance.between(-60, 60), hole, hole, BLACK)


def _bush(figure: Figure, colour: Colour, chance: Chance) -> None:
    for _ in range(chance.between(10, 18)):
        radius = chance.between(60, 110)
        figure.disc("", chance.between(-320, 320), -chance.between(80, 330), radius, radius, chance.shade(colour))


def _jug(figure: Figure, colour: Colour, chance: Chance) -> None:
    figure.limb("", [(150, -380, 30), (chance.between(240, 330), -320, 26), (160, -170, 26)], mix(colour, BLACK, 20))
    figure.limb("", [(0, -160, 160), (0, -300, 110), (0, -420, 90)], colour)
    figure.disc("", 0, -500, 100, 30, mix(colour, BLACK, 60))
    figure.ellipse("", chance.between(-60, 60), -250, 40, 50, chance.pick(ANY_COAT))


def grass(chance: Chance) -> Figure:
    """Blades of grass."""
    figure = Figure()
    colour = chance.shade((86, 124, 60))
    for x in range(-500, 500, 50):
        tip = (x + chance.between(-40, 40), -chance.between(60, 160))
        figure.polygon("", [(x - 30, 0), tip, (x + 40, 0)], mix(colour, BLACK, chance.between(0, 30)))
    return figure
