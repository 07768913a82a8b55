"""What was promised beside what was measured, as a Markdown table."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Mark:
    """One figure and the greatest value that keeps the promise."""

    work: str
    limit: float
    figure: float
    unit: str = ""

    @property
    def met(self):
        """Whether the promise is kept."""
        return self.figure <= self.limit

    def row(self):
        """Its line of the table; a figure is compared as measured and rounded only for the eye."""
        places = 1 if self.unit.strip() == "KiB" else 2
        verdict = "met" if self.met else "**missed**"
        return f"| {self.work} | {self.limit:.{places}f}{self.unit} | {self.figure:.{places}f}{self.unit} | {verdict} |"


def table(marks):
    """All marks, in their order."""
    lines = ["**Marks**", "", "| what | at most | measured | |", "|---|--:|--:|---|"]
    return "\n".join(lines + [mark.row() for mark in marks])
