"""The line that the packet took through the devices, and the cross where it ended. Pure."""

from __future__ import annotations

from calico_mn.report.svg import element, polyline
from calico_mn.trace.picture import style
from calico_mn.trace.picture.layout import Stage, enters, in_tunnel, leaves, reached


def line(set_out: Stage) -> list[str]:
    """The way with its devices, in a tube where it is inside IPIP."""
    points, ports = _points(set_out)
    if not points:
        return []
    found = []
    mouth = style.TUNNEL_TOP + style.TUNNEL_HEIGHT
    for bar in set_out.outer:
        tube = polyline([(bar.left, mouth), (bar.left, style.WAY), (bar.right, style.WAY),
                         *([(bar.right, mouth)] if bar.right != set_out.end else [])])
        found += [element("path", d=tube, class_="tube"), element("path", d=tube, class_="bore")]
    found.append(element("path", d=polyline(points), class_="core"))
    if set_out.end is None:
        last, _ = reached(set_out.columns)[-1]
        found.append(element("circle", cx=last.middle, cy=style.WAY, r=11, class_="inner"))
    return [*found, *map(_port, ports)]


def _points(set_out: Stage) -> tuple[list[tuple[float, float]], list[float]]:
    """Where the line goes, and the x of the devices on it."""
    columns = reached(set_out.columns)
    points: list[tuple[float, float]] = []
    ports: list[float] = []
    mouth = style.TUNNEL_TOP + style.TUNNEL_HEIGHT
    for position, (column, hop) in enumerate(columns):
        if enters(hop) is not None:
            points.append((column.left, style.WAY))
            ports.append(column.left)
        else:
            points.append((column.middle, style.WAY))
        if in_tunnel(hop):
            points += [(column.middle, style.WAY), (column.middle, mouth),
                       (column.middle, style.WAY)]
        if leaves(hop) is not None:
            points.append((column.right, style.WAY))
            ports.append(column.right)
        elif position == len(columns) - 1:
            points.append((column.middle if set_out.end is None else set_out.end, style.WAY))
    if set_out.end is not None and points and set_out.end > points[-1][0]:
        points.append((set_out.end, style.WAY))
    return points, ports


def _port(x: float) -> str:
    return element("rect", x=x - 8, y=style.WAY - 11, width=16, height=22, rx=3, class_="port")


def cross(x: float) -> list[str]:
    """Where the packet died."""
    arm, y = 17.0, style.WAY
    return [element("line", x1=x - arm, y1=y - sign * arm, x2=x + arm, y2=y + sign * arm,
                    class_=class_) for class_ in ("halo", "cross") for sign in (1, -1)]
