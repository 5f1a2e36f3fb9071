"""The style of what the cards about one row show."""

from pyrovae.app.look import LINE, MUTED

__all__ = ["ROWS"]

ROWS = f"""
:host {{ container-type: inline-size; }}
.split {{ display: flex; flex-wrap: wrap; gap: 14px 18px; }}
.pictures {{ display: flex; gap: 12px; flex: 0 1 auto; min-width: 0; }}
.pictures:has(table) {{ flex: 1 1 260px; }}
.facts {{ flex: 1 1 220px; min-width: 0; display: flex; flex-direction: column; gap: 5px; }}
figure {{ margin: 0; min-width: 0; }}
figcaption {{ font-size: 12px; color: {MUTED}; margin-top: 3px; }}
.row {{ gap: 10px; }}
.evidence b {{ font-size: 17px; }}
.trust {{ font-variant-numeric: tabular-nums; }}
.mark {{ padding: 1px 8px; border-radius: 9px; font-weight: 600; }}
.mark .tip {{ border: none; }}
.mark.good {{ background: #e2f1e6; color: #1c6b35; }}
.mark.poor {{ background: #fbeadb; color: #96480a; }}
.posterior {{ margin-top: 10px; }}
.posterior svg {{ width: 100%; height: auto; max-width: 560px; }}
.curve {{ width: 100%; max-width: 340px; height: auto; }}
.scroll {{ max-height: 320px; overflow: auto; width: 100%; }}
table {{ border-collapse: collapse; width: 100%; font-size: 13px; }}
table td {{ text-align: right; font-variant-numeric: tabular-nums; padding: 3px 0 3px 12px;
  border-top: 1px solid {LINE}; }}
table th {{ text-align: left; font-weight: 400; color: {MUTED}; padding: 3px 0; overflow-wrap: anywhere; }}
table tr:not(:first-child) th {{ border-top: 1px solid {LINE}; }}
table tr:first-child th:not(:first-child) {{ text-align: right; padding-left: 12px; font-size: 12px;
  overflow-wrap: break-word; }}
p {{ margin: 6px 0 0; }}
code {{ font-size: 12px; }}
.name {{ overflow-wrap: anywhere; padding-right: 6px; }}
.evidence-y b {{ font-size: 15px; }}
.distribution {{ display: flex; flex-direction: column; gap: 3px; min-width: 0; padding-bottom: 4px; }}
.share {{ position: relative; display: flex; justify-content: space-between; gap: 8px; padding: 2px 7px; }}
.share i {{ position: absolute; left: 0; top: 0; bottom: 0; background: #d9e9f3; border-radius: 3px; }}
.share span, .share b {{ position: relative; overflow-wrap: anywhere; }}
.histogram {{ width: 100%; max-width: 220px; height: 27px; display: block; }}
"""
