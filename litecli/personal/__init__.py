"""One person's objects: learned, named, checked and reported. No torch.

personalize.py  adapt, without torch
predictions.py  classify, without torch
support.py      a folder read and embedded
same_shot.py    photos that are one shot
selfcheck.py    leave-one-out check and forecast
sides.py        closer looks at a wide photo's ends and middle
findings.py     photos that deserve a look
advice.py       what to photograph next
report.py       the facts of a profile's report
report_page.py  facts to one HTML file
changes.py      what came and went since the profile was last learned
"""
