"""A picture for each product, drawn from its number: the category gives the shape, the number the
colours."""

from demo.catalog.products import SLUGS

WIDTH, HEIGHT = 240, 200
COLOURS = (
    ("#e8e2d6", "#6f6659", "#b8261c"),
    ("#dde7ea", "#4e6a75", "#c98a1b"),
    ("#e6e4d3", "#66713f", "#a8443a"),
    ("#ece0dc", "#8a5a4c", "#3f6b7d"),
    ("#e0e0ec", "#5a5e86", "#c2722d"),
    ("#dfe8df", "#4c7358", "#9a4d6b"),
)
# Each shape: (path of the body, path of the detail), in a field of 240 by 200.
SHAPES = {
    "backpacks": (
        "M80 70q0-30 40-30t40 30v80q0 14-14 14H94q-14 0-14-14z",
        "M96 112h48v34H96zM104 44v-12h32v12",
    ),
    "bicycles": (
        "M70 104a32 32 0 1 0 .1 0zm0 10a22 22 0 1 1-.1 0zM170 104a32 32 0 1 0 .1 0zm0 10a22 22 0 1 1-.1 0z",
        "M68 136l30-56h46l26 56-6 3-22-45h-34l20 45-4 3H72z",
    ),
    "blankets": (
        "M60 60h120v90q-15 12-30 0t-30 0-30 0-30 0z",
        "M60 80h120v10H60zM60 104h120v10H60z",
    ),
    "books": (
        "M72 44h88q10 0 10 10v92q0 10-10 10H72z",
        "M72 44h14v112H72zM100 72h52v8h-52zM100 90h36v8h-36z",
    ),
    "boots": (
        "M88 44h36v60l46 18q10 4 10 16v18H84z",
        "M84 146h96v10H84zM96 60h20v6H96zM96 76h20v6H96z",
    ),
    "bowls": ("M56 84h128q0 62-50 70h-28q-50-8-50-70z", "M96 154h48v8H96zM56 84h128v10H56z"),
    "chairs": ("M82 40h14v68h58q8 0 8 8v48h-12v-42H94v42H82z", "M82 98h80v12H82z"),
    "clocks": ("M120 40a60 60 0 1 0 .1 0z", "M116 62h8v36l24 16-5 7-27-18z"),
    "desks": ("M48 76h144v14h-8v72h-12V90H68v72H56V90h-8z", "M122 90h50v26h-50z"),
    "gloves": (
        "M88 160v-48l-18-22 10-10 18 16V56q10-14 18 0v-8q10-12 18 0v10q10-10 16 0v12q10-6 12 4v86z",
        "M88 146h74v14H88z",
    ),
    "jackets": ("M96 44h48l44 28-14 34-18-8v62H84V98l-18 8-14-34z", "M117 44h6v116h-6z"),
    "kettles": (
        "M70 92c0-24 22-40 50-40s50 16 50 40l10 58a12 12 0 0 1-12 14H72a12 12 0 0 1-12-14z",
        "M172 96l30-16 4 10-32 26zM113 40h14v14h-14z",
    ),
    "knives": ("M62 96h92q28 2 34 24H62z", "M40 96h34v24H40q-8-12 0-24z"),
    "lamps": ("M92 44h56l30 58H62z", "M115 102h10v44h22v12H93v-12h22z"),
    "mugs": (
        "M72 58h80v90q0 10-10 10H82q-10 0-10-10z",
        "M152 76h14q20 0 20 26t-20 26h-14v-12h12q10 0 10-14t-10-14h-12z",
    ),
    "pans": ("M56 104a44 44 0 0 1 88 0q0 44-44 44t-44-44z", "M142 96h66v14h-66z"),
    "radios": (
        "M54 74h132v82H54z",
        "M84 92a22 22 0 1 0 .1 0zM124 94h48v8h-48zM124 114h48v8h-48zM150 74l24-34 6 4-22 30z",
    ),
    "ropes": (
        "M120 48a54 54 0 1 0 .1 0zm0 24a30 30 0 1 1-.1 0z",
        "M120 60a42 42 0 1 0 .1 0zm0 8a34 34 0 1 1-.1 0zM160 132l30 26-7 8-30-26z",
    ),
    "scales": ("M64 128h112l10 30H54z", "M72 76h96v12h-42v40h-12V88H72zM60 64h120v12H60z"),
    "shelves": (
        "M60 40h12v124H60zM168 40h12v124h-12zM72 68h96v10H72zM72 112h96v10H72zM72 150h96v10H72z",
        "M84 44h12v24H84zM100 50h10v18h-10zM130 88h24v24h-24z",
    ),
    "stoves": (
        "M64 92h112v52q0 10-10 10H74q-10 0-10-10z",
        "M76 78h88v14H76zM88 106a12 12 0 1 0 .1 0zM152 106a12 12 0 1 0 .1 0zM78 154h10v12H78zM152 154h10v12h-10z",
    ),
    "tents": ("M120 44l76 112H44z", "M120 84l28 72H92z"),
    "tools": (
        "M52 88h136v70H52z",
        "M92 88V68q0-8 8-8h40q8 0 8 8v20h-12V72h-32v16zM110 112h20v16h-20z",
    ),
    "vases": (
        "M102 44h36q-4 22 14 44t0 54q-8 16-20 16h-24q-12 0-20-16t0-54 14-44z",
        "M92 96h56v10H92z",
    ),
}


def draw(product_id: int) -> str:
    """The picture as SVG text: geometry attributes only, so that no inline style is needed."""
    slug = SLUGS[product_id % len(SLUGS)]
    ground, body, detail = COLOURS[(product_id // len(SLUGS)) % len(COLOURS)]
    shape, mark = SHAPES[slug]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}">'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="{ground}"/>'
        f'<path fill="{body}" fill-rule="evenodd" d="{shape}"/><path fill="{detail}" fill-rule="evenodd" d="{mark}"/></svg>'
    )
