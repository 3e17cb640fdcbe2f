"""What runs on every result between the detector and the sinks, in the order of a stream's frames.

`class_filter` keeps the classes of `--classes`, `tracking` assigns track ids, `zones` counts objects in zones and at
lines; `source_clock` is the time that the last two use. `step_chain` calls the steps and contains their errors.
"""
