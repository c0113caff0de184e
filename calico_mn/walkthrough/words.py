"""The renderer's own words, in both languages. Pure."""

from __future__ import annotations

from calico_mn.walkthrough.language import Text

TITLE = Text("The article's walk through Calico's IPIP mode, typed again: {source}",
             "跟着文章重走一遍 Calico 的 IPIP 模式：{source}")
TUNNEL = Text("tunl0 by the back end \"{tunnel}\"; routes as up to Calico v3.25",
              "tunl0 由后端“{tunnel}”提供；路由格式与 Calico v3.25 及以前一致")
LEGEND = Text(
    "=  as the article shows it    ~  but for what is named below    +  not in the article\n"
    "-  cannot be shown here       !  differs",
    "=  与文章一致    ~  除下面列出的差异外一致    +  文章中没有\n"
    "-  此处无法显示  !  不一致")
CHAPTER = Text("Chapter {number}  {title}", "第 {number} 章  {title}")
ARTICLE_TYPES = Text("the article types: ", "文章输入的是：")
MEANWHILE = Text("meanwhile on ", "同时在 ")
ARTICLE_SHOWS = Text("article", "文章")
BECAUSE = Text("differs", "差异")
MISSING = Text("(nothing like it was printed)", "（没有类似的输出）")
OK = Text("ok", "对")
NOT_OK = Text("NO", "错")
WRONG = Text("Wrong or misleading in the article ({code}): ", "文章有误或易误解之处（{code}）：")
FACT = Text("In fact: ", "实际上：")
CLUSTER = Text("cluster", "集群")
NEXT = Text("Enter for the next step ", "按回车继续 ")

SUMMARY = Text("Summary", "小结")
COMMANDS = Text("{commands} commands, {calls} changes or questions by the library",
                "输入命令 {commands} 条，调用库 {calls} 次")
LINES = Text(
    "{lines} lines of the article: {agree} agree, {named} agree after naming what differs,"
    " {absent} cannot be shown with this back end, {differ} differ",
    "文章的输出 {lines} 行：{agree} 行一致，{named} 行除列出的差异外一致，"
    "{absent} 行在此后端下无法显示，{differ} 行不一致")
NO_LINES = Text("the article shows no lines here", "文章在这里没有给出输出")
CHECKS = Text("{held} of {checks} further checks hold", "其他检查 {checks} 项，{held} 项成立")
TOLD = Text("Not to be seen here: ", "此处无法演示：")
PLACES = Text(
    "{places} places where the article is wrong or misleads: {codes}",
    "文章有误或易误解之处 {places} 处：{codes}")
PARTLY = Text("of these, a part is told and cannot be seen on this cluster: {told}",
              "其中有一部分只作说明，在这个集群上无法演示：{told}")
NO_PLACES = Text("no statement of the article was tested", "没有检验文章的论断")
FAILED = Text("Not as it must be: {steps}", "与预期不符的步骤：{steps}")
GOOD = Text("All that must match did.", "该一致的全部一致。")
