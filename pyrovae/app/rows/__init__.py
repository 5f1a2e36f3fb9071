"""The cards about one row: the row itself, an uploaded one, and what its known part says.

RowCard         the row, its reconstruction, log p(x) with its error, and p(c|x)
UploadCard      an image, a row of a table or an array of the user
ConditionCard   a brush for images and a form for tables: samples of the rest, p(x|y)
"""

from pyrovae.app.rows.condition_card import ConditionCard
from pyrovae.app.rows.row_card import RowCard
from pyrovae.app.rows.upload_card import UploadCard

__all__ = ["ConditionCard", "RowCard", "UploadCard"]
