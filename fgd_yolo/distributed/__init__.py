"""Training over several processes, on one machine or several, with torch.distributed.

- `world.py`: the processes that train together, as the environment of `torchrun` describes them
- `process_group.py`: joins this process to the others, and leaves them
- `heartbeat.py`: ends every process with one line when one of them has failed or is silent
- `exchange.py`: what the ranks tell each other outside a training: values, facts to compare, errors, files
- `gradients.py`: averages gradients over the processes, and copies values of rank 0 to all
- `launch.py`: starts one process for each device of this machine
- `sums.py`: sums over the ranks within a training step
- `alone.py`: lets one of the processes use Ultralytics as if it were the only one
"""
