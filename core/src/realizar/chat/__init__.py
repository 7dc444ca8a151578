"""Chat templates: from messages to the text, and the ids, of a prompt."""

from realizar.chat.budget import RenderLimits
from realizar.chat.segments import Segment, encode_segments
from realizar.chat.template import ChatTemplate

__all__ = ["ChatTemplate", "RenderLimits", "Segment", "encode_segments"]
