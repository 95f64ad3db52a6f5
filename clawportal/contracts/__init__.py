"""What core and plugins share: values and protocols, nothing that acts.

Units: seconds as float, sizes in bytes as int, CPU in cores as float, times as timezone-aware UTC datetimes.
"""
