"""Live cameras and files through a detector, to sinks, with every frame accounted for.

The room's map: `sources` opens one camera or file and `reader` keeps it open; `address` names it and hides its
password. `mailbox` holds what `policy` lets wait, `turns` says whose frame goes next, `lanes` carry frames through the
detector (each `lane` with its own buffer, `runs` apart by its slots), `order` gives them back in their stream's order;
`stream` ties these together and `pipeline` all streams. `steps` complete results, such as `choice`, `tracking` and
`zones`, and `sinks` write them; `failures` and `stats` count, `summary` prints the closing table. `frame` is what
travels.
"""
