"""Draws a scene on a canvas: the ground, the body with its leads or balls, the marking, then what lies on top."""

from __future__ import annotations

import numpy as np
from PIL import Image

from magical_hub.packages.canvas import Canvas, Paint, rounded_rectangle
from magical_hub.packages.scene import Lead, Scene

_BEVEL = 0.016
_COPPER = Paint((142, 98, 70), grain=20, gloss=60, mottle=20)
_GOLD = Paint((196, 160, 84), grain=10, gloss=90, mottle=10)
_LASER = Paint((206, 204, 196), grain=40, gloss=30)
_DUST = Paint((190, 186, 178))
_OUTWARD = np.array([(1, 0), (0, 1), (-1, 0), (0, -1)])


def paint_scene(scene: Scene, image_size: int) -> Canvas:
    """Draw `scene` without its overlays; the canvas still lacks light, texture and noise."""
    canvas = Canvas(image_size)
    {"QFN": _paint_board, "BGA": _paint_tray, "SOIC": _paint_tray}[scene.package](canvas, scene)
    canvas.place(scene.pose)
    {"QFN": _paint_qfn, "BGA": _paint_bga, "SOIC": _paint_soic}[scene.package](canvas, scene)
    for mark in scene.marks:
        canvas.text(mark, _LASER)
    for x, y, radius, opacity in scene.specks:
        canvas.disc((x, y), radius, _DUST.lit(opacity))
    return canvas


def paint_overlays(canvas: Canvas, scene: Scene) -> None:
    """Draw what lies on top of the package on a canvas that holds the rest of the scene."""
    for overlay in scene.overlays:
        overlay.paint(canvas, scene)


def body_outline(scene: Scene) -> np.ndarray:
    """Outline (24, 2) of the package body in scene units."""
    return rounded_rectangle(scene.layout.half_width, scene.layout.half_height, 0.012)


def dimple(canvas: Canvas, outline: np.ndarray, paint: Paint, towards: np.ndarray) -> None:
    """A pit in a surface: its wall next to the light lies in the dark, the far wall is lit."""
    middle = outline.mean(axis=0)
    shape = outline - middle
    depth = towards * np.abs(shape).max()
    canvas.polygon(outline, paint.lit(0.35))
    canvas.polygon(middle - depth * 0.2 + shape * 0.8, paint.lit(1.9))
    canvas.polygon(middle - depth * 0.04 + shape * 0.7, paint.lit(0.8))


def mould(scene: Scene) -> Paint:
    """The material of the body."""
    if scene.package == "BGA":
        return Paint(scene.palette.body, grain=14, gloss=60, mottle=8)
    return Paint(scene.palette.body, grain=30, gloss=100, mottle=12)


def ground(scene: Scene) -> Paint:
    """The material that the package lies on."""
    return Paint(scene.palette.ground, grain=14, gloss=40, mottle=9)


def _paint_board(canvas: Canvas, scene: Scene) -> None:
    base, solder = ground(scene), Paint(scene.palette.metal, grain=10, gloss=60, mottle=12).lit(0.62)
    canvas.polygon(_rectangle(0.0, 0.0, 0.6, 0.6), base)
    layout = scene.layout
    end = layout.half_width + layout.lead_length
    for lead in scene.leads:
        if round(lead.along / layout.lead_pitch + 0.5) % 3:
            canvas.polygon(_strip(lead, (end, 0.6), (0.0, 0.0), 0.011), base.lit(1.35))
        # Solder wets the land only where a whole pad meets it.
        land = solder if lead.reach == 1 else _COPPER
        canvas.polygon(
            _strip(lead, (layout.half_width - 0.02, end), (0.0, 0.0), layout.lead_width * 1.2), base.lit(0.7)
        )
        canvas.polygon(_strip(lead, (layout.half_width - 0.02, end - 0.005), (0.0, 0.0), layout.lead_width), land)
    silk = Paint((206, 210, 204), grain=10, gloss=20)
    for x in (-0.44, 0.44):
        for y in (-0.44, 0.44):
            canvas.polygon(_rectangle(x * 0.955, y, 0.026, 0.004), silk)
            canvas.polygon(_rectangle(x, y * 0.955, 0.004, 0.026), silk)


def _paint_tray(canvas: Canvas, scene: Scene) -> None:
    base = ground(scene)
    canvas.polygon(_rectangle(0.0, 0.0, 0.6, 0.6), base.lit(1.15))
    _paint_slab(canvas, scene, 0.475, 0.475, 0.012, base.lit(0.85), raised=-1.0)


def _paint_slab(
    canvas: Canvas,
    scene: Scene,
    half_width: float,
    half_height: float,
    bevel: float,
    paint: Paint,
    raised: float = 1.0,
) -> None:
    """A flat face with four bevels that catch the light (`raised` 1) or lie the other way round (-1, a pocket)."""
    canvas.polygon(rounded_rectangle(half_width, half_height, 0.012), paint.lit(0.9))
    outer = np.array([half_width, half_height]) - 0.004
    inner = outer - bevel
    corners = np.array([(1, -1), (1, 1), (-1, 1), (-1, -1)])
    for side in range(4):
        pair = corners[[side, (side + 1) % 4]]
        slope = 1 + 0.5 * raised * float(_OUTWARD[side] @ scene.light.towards)
        canvas.polygon(np.concatenate([pair * outer, pair[::-1] * inner]), paint.lit(slope))
    canvas.polygon(corners * inner, paint)


def _paint_qfn(canvas: Canvas, scene: Scene) -> None:
    layout, edge = scene.layout, scene.layout.half_width
    tin = Paint(scene.palette.metal, grain=10, gloss=130, mottle=12)
    canvas.shadow([body_outline(scene)], -scene.light.towards * 0.012, 0.012, 0.55)
    for lead in scene.leads:
        facing = float(_OUTWARD[lead.side] @ scene.light.towards)
        # The solder climbs the flank of the body, then lies flat on the land.
        tones = (0.55 + 0.25 * facing, 1.1 + 0.1 * facing, 0.84, 0.7)
        _paint_lead(canvas, lead, tin, edge, (-0.01, 0.014, 0.03, 0.062, 0.068), tones, layout.lead_width * 0.9)
    _paint_slab(canvas, scene, edge, edge, _BEVEL, mould(scene))
    pin_1 = rounded_rectangle(0.026, 0.026, 0.026) - (edge - 0.07)
    dimple(canvas, pin_1, mould(scene), scene.light.towards)


def _paint_soic(canvas: Canvas, scene: Scene) -> None:
    layout, edge = scene.layout, scene.layout.half_height
    tin = Paint(scene.palette.metal, grain=12, gloss=120, mottle=14)
    shapes = [
        _strip(lead, (edge, edge + layout.lead_length * lead.reach), (0.0, lead.shift), layout.lead_width)
        for lead in scene.leads
    ]
    canvas.shadow([body_outline(scene), *shapes], -scene.light.towards * 0.02, 0.012, 0.6)
    for lead in scene.leads:
        facing = float(_OUTWARD[lead.side] @ scene.light.towards)
        # Shoulder, the slope down to the board, the foot, and the cut end.
        tones = (0.96, 0.5 + 0.22 * facing, 0.68 + 0.2 * facing, 1.0, 0.6)
        _paint_lead(canvas, lead, tin, edge, (-0.01, 0.042, 0.075, 0.09, 0.157, 0.165), tones, layout.lead_width)
    _paint_slab(canvas, scene, layout.half_width, edge, _BEVEL * 1.3, mould(scene))
    pin_1 = rounded_rectangle(0.028, 0.028, 0.028) + (0.075 - layout.half_width, edge - 0.075)
    dimple(canvas, pin_1, mould(scene), scene.light.towards)
    for side in (-1, 1):
        # Ejector and gate marks at the two ends, where the mould lets the part go.
        canvas.polygon(_rectangle(side * (layout.half_width - 0.026), 0.0, 0.005, 0.05), mould(scene).lit(0.8))


def _paint_lead(
    canvas: Canvas,
    lead: Lead,
    paint: Paint,
    edge: float,
    stations: tuple[float, ...],
    tones: tuple[float, ...],
    width: float,
) -> None:
    """One lead, in pieces between stations (distances from the edge of the body); its shift grows outwards."""
    tip = stations[-1]
    limit = stations[0] + (tip - stations[0]) * lead.reach
    for start, end, tone in zip(stations[:-1], stations[1:], tones, strict=True):
        if start >= limit:
            break
        end = min(end, limit)
        shifts = (lead.shift * max(start / tip, 0.0), lead.shift * max(end / tip, 0.0))
        piece = paint.lit(tone * lead.tone)
        canvas.polygon(_strip(lead, (edge + start, edge + end), shifts, width), piece)
        canvas.polygon(_strip(lead, (edge + start, edge + end), shifts, width * 0.5), piece.lit(1.13))


def _paint_bga(canvas: Canvas, scene: Scene) -> None:
    layout = scene.layout
    resin = mould(scene)
    canvas.shadow([body_outline(scene)], -scene.light.towards * 0.012, 0.01, 0.55)
    _paint_slab(canvas, scene, layout.half_width, layout.half_height, 0.008, resin)
    corner = -layout.half_width + 0.016
    canvas.polygon(np.array([(corner, corner), (corner + 0.034, corner), (corner, corner + 0.034)]), _GOLD)
    _paint_traces(canvas, scene, resin.lit(1.22))
    sprites: dict[tuple[float, float], Image.Image] = {}
    for ball in scene.balls:
        canvas.disc((ball.x, ball.y), layout.ball_radius * 1.02, resin.lit(0.62))
        canvas.disc((ball.x, ball.y), layout.ball_radius * 0.84, _COPPER.lit(0.8 * ball.tone))
        if not ball.size:
            continue
        key = (ball.size, ball.tone)
        if key not in sprites:
            colour = np.array(scene.palette.metal) * ball.tone
            sprites[key] = _sphere(layout.ball_radius * ball.size * canvas.size, colour, scene.light.towards)
        canvas.stamp(sprites[key], (ball.x, ball.y), (4, 60, 0))


def _paint_traces(canvas: Canvas, scene: Scene, paint: Paint) -> None:
    """Conductors under the solder resist and the vias of the empty centre: the same on every part."""
    pitch = scene.layout.ball_pitch
    for step in range(-4, 5):
        for sign in (-1, 1):
            outer = 4.95 - 0.3 * (step % 2)
            canvas.polygon(
                _rectangle(step * pitch, sign * pitch * (2.3 + outer) / 2, 0.003, pitch * (outer - 2.3) / 2), paint
            )
            canvas.polygon(
                _rectangle(sign * pitch * (2.3 + outer) / 2, step * pitch, pitch * (outer - 2.3) / 2, 0.003), paint
            )
    for x in (-1.2, -0.4, 0.4, 1.2):
        for y in (-1.2, -0.4, 0.4, 1.2):
            canvas.disc((x * pitch, y * pitch), 0.009, paint.lit(1.1))
            canvas.disc((x * pitch, y * pitch), 0.0045, _GOLD.lit(0.55))


def _sphere(radius: float, colour: np.ndarray, towards: np.ndarray) -> Image.Image:
    """A shiny ball under a tilted light, as an RGBA sprite about its centre; `radius` in pixels."""
    reach = int(np.ceil(radius)) + 1
    axis = (np.arange(-reach, reach + 1) / radius).astype(np.float32)
    x, y = axis[None, :], axis[:, None]
    flat = x**2 + y**2
    z = np.sqrt(np.clip(1 - flat, 0, 1))
    facing = np.clip(0.5 * (x * towards[0] + y * towards[1]) + 0.87 * z, 0, 1)
    half = np.clip(0.27 * (x * towards[0] + y * towards[1]) + 0.963 * z, 0, 1)
    tone = 0.28 + 0.55 * facing**1.5
    shade = tone[..., None] * colour + 200 * (half**22)[..., None]
    alpha = np.clip((1 - np.sqrt(flat)) * radius + 0.5, 0, 1) * 255
    return Image.fromarray(np.dstack([shade.clip(0, 255), alpha]).astype(np.uint8), "RGBA")


def _strip(lead: Lead, outs: tuple[float, float], shifts: tuple[float, float], width: float) -> np.ndarray:
    """Quadrilateral (4, 2) of a piece of a lead between two distances from the centre of the package."""
    normal = _OUTWARD[lead.side]
    (near, far), sign, half = outs, normal.sum(), width / 2
    start, end = lead.along + shifts[0], lead.along + shifts[1]
    away_first = [(near, start - half), (near, start + half), (far, end + half), (far, end - half)]
    return np.array([(sign * away, across) if normal[0] else (across, sign * away) for away, across in away_first])


def _rectangle(x: float, y: float, half_width: float, half_height: float) -> np.ndarray:
    return np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * (half_width, half_height) + (x, y)
