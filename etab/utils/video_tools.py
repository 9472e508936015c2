"""The import path of 2022 for ``etab.legacy.video_tools``."""

from etab.legacy.video_tools import create_echo_clip

__all__ = ["create_echo_clip"]
