#include "frames.h"

#include "callbacks.h"

/* A part of a body that is smaller than this is no work that excuses anything. */
#define FULL_BYTES 1024

void frames_excuse(struct h2_session *s)
{
	if (s->frames.allowance < s->limits->oddities)
		s->frames.allowance++;
}

void frames_remember_reset(struct h2_session *s, int32_t id)
{
	struct h2_frames *f = &s->frames;

	f->reset_ids[f->reset_at] = id;
	f->reset_at = (uint8_t)((f->reset_at + 1) % H2_RESET_IDS);
}

static bool reset_by_us(const struct h2_frames *f, int32_t id)
{
	for (int i = 0; i < H2_RESET_IDS; i++)
		if (f->reset_ids[i] == id)
			return true;
	return false;
}

static void oddity_count(struct h2_session *s, enum h2_oddity oddity)
{
	s->frames.oddities[oddity]++;
	if (s->frames.allowance == 0)
		h2_fail(s, H2_ENHANCE_YOUR_CALM);
	else
		s->frames.allowance--;
}

struct frame {
	uint32_t payload;
	uint8_t type, flags;
	int32_t id;
};

static struct frame frame_of(const uint8_t head[H2_FRAME_HEAD])
{
	return (struct frame){
		.payload = (uint32_t)head[0] << 16 | (uint32_t)head[1] << 8 | head[2],
		.type = head[3],
		.flags = head[4],
		.id = (int32_t)((uint32_t)(head[5] & 0x7f) << 24 |
				(uint32_t)head[6] << 16 | (uint32_t)head[7] << 8 |
				head[8]),
	};
}

/* A head or trailers of a client's stream that was begun before. */
static bool needs_state(const struct h2_session *s, const struct frame *f)
{
	return f->type == NGHTTP2_HEADERS && s->side == H2_SERVER &&
	       f->id <= s->frames.last_id;
}

/* A stream that has ended, or that was passed over, cannot begin again (RFC 9113 5.1.1), but the
 * peer may not know yet that it has ended. */
static void head_judge(struct h2_session *s, const struct frame *f)
{
	if (f->id > s->frames.last_id) {
		s->frames.last_id = f->id;
		return;
	}
	if (nghttp2_session_find_stream(s->library, f->id))
		return;
	if (reset_by_us(&s->frames, f->id))
		oddity_count(s, H2_ODDITY_CLOSED);
	else
		h2_fail(s, NGHTTP2_STREAM_CLOSED);
}

static void data_judge(struct h2_session *s, const struct frame *f)
{
	if (reset_by_us(&s->frames, f->id))
		oddity_count(s, H2_ODDITY_CLOSED);
	else if (f->payload == 0 && !(f->flags & NGHTTP2_FLAG_END_STREAM))
		oddity_count(s, H2_ODDITY_EMPTY);
	else if (f->payload >= FULL_BYTES)
		frames_excuse(s);
}

/* Ignored by the library, as we do not use RFC 7540's priorities. */
static void priority_judge(struct h2_session *s, const struct frame *f)
{
	if (f->id == 0)
		h2_fail(s, H2_PROTOCOL_ERROR);
	else if (f->payload != 5)
		h2_fail(s, NGHTTP2_FRAME_SIZE_ERROR);
	else
		oddity_count(s, H2_ODDITY_PRIORITY);
}

static void frame_judge(struct h2_session *s, const struct frame *f)
{
	switch (f->type) {
	case NGHTTP2_HEADERS:
		if (s->side == H2_SERVER)
			head_judge(s, f);
		break;
	case NGHTTP2_DATA:
		data_judge(s, f);
		break;
	case NGHTTP2_SETTINGS:
		if (!(f->flags & NGHTTP2_FLAG_ACK))
			oddity_count(s, H2_ODDITY_SETTINGS);
		break;
	case NGHTTP2_PING:
		if (!(f->flags & NGHTTP2_FLAG_ACK))
			oddity_count(s, H2_ODDITY_PING);
		break;
	case NGHTTP2_PRIORITY:
		priority_judge(s, f);
		break;
	case NGHTTP2_PRIORITY_UPDATE:
		oddity_count(s, H2_ODDITY_PRIORITY);
		break;
	case NGHTTP2_WINDOW_UPDATE:
		oddity_count(s, H2_ODDITY_WINDOW);
		break;
	case NGHTTP2_CONTINUATION: /* the library has a limit */
	case NGHTTP2_RST_STREAM:   /* counted by callbacks.c */
	case NGHTTP2_GOAWAY:
	case NGHTTP2_PUSH_PROMISE: /* refused by the library */
		break;
	default:
		oddity_count(s, H2_ODDITY_UNKNOWN);
	}
}

size_t frames_judge(struct h2_session *s, struct slice bytes)
{
	struct h2_frames *f = &s->frames;
	size_t at = 0, begin;

	while (at < bytes.len && !s->failed) {
		struct frame frame;

		if (f->left > 0) {
			size_t n = bytes.len - at < f->left ? bytes.len - at : f->left;

			f->left -= (uint32_t)n;
			at += n;
			continue;
		}
		begin = at;
		while (f->n < H2_FRAME_HEAD && at < bytes.len)
			f->head[f->n++] = (uint8_t)bytes.ptr[at++];
		if (f->n < H2_FRAME_HEAD)
			break;
		frame = frame_of(f->head);
		if (begin > 0 && needs_state(s, &frame)) {
			f->n = 0; /* read again, once what is before it was */
			return begin;
		}
		f->n = 0;
		f->left = frame.payload;
		frame_judge(s, &frame);
	}
	return at;
}
