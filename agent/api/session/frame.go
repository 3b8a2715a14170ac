package session

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// frameType says what a frame is for.
type frameType uint8

const (
	frameHello   frameType = 1 // dialler to listener: a session begins, any other ends
	frameWelcome frameType = 2 // listener to dialler: the session is open
	frameData    frameType = 3
	frameClose   frameType = 4 // either side: the session ends
)

const (
	headerSize  = 20
	trailerSize = 4
	// MaxFrame bounds a whole frame. It is also what the virtio-serial driver takes in one write.
	MaxFrame = 32 << 10
	// MaxPayload is what one frame carries at most.
	MaxPayload = MaxFrame - headerSize - trailerSize
)

// The first byte of the magic occurs nowhere else in it, so a search for it never has to step back. No byte of the trailer is zero:
// a frame that zeros completed fails in its last byte, wherever the cut was.
var (
	magic   = [4]byte{0xc1, 0x01, 's', 'f'}
	trailer = [trailerSize]byte{'e', 'n', 'd', 0x1c}
)

// errBrokenFrame marks a frame with a sound header and a wrong trailer: its sender was cut in the middle.
var errBrokenFrame = errors.New("frame was cut")

// frame is one decoded frame; payload is valid until the next one is read.
type frame struct {
	kind    frameType
	session uint64
	payload []byte
}

// appendFrame encodes one frame; a payload beyond MaxPayload is a bug of the caller.
func appendFrame(b []byte, kind frameType, session uint64, payload []byte) []byte {
	if len(payload) > MaxPayload {
		panic(fmt.Sprintf("session: payload of %d bytes, at most %d", len(payload), MaxPayload))
	}
	b = append(b, magic[:]...)
	b = append(b, byte(kind), 0, 0, 0)
	b = binary.BigEndian.AppendUint64(b, session)
	b = binary.BigEndian.AppendUint32(b, uint32(len(payload)))
	b = append(b, payload...)
	return append(b, trailer[:]...)
}

// decoder reads frames out of a stream that may hold anything between them.
type decoder struct {
	r *bufio.Reader
}

func newDecoder(r io.Reader) *decoder {
	return &decoder{r: bufio.NewReaderSize(r, MaxFrame)}
}

// next returns the next frame. With errBrokenFrame kind and session are those of the cut frame, there is no payload, and reading may go
// on; any other error is the stream's own.
func (d *decoder) next() (frame, error) {
	for {
		if err := d.seek(); err != nil {
			return frame{}, err
		}
		header, err := d.r.Peek(headerSize)
		if err != nil {
			return frame{}, err
		}
		f := frame{kind: frameType(header[4]), session: binary.BigEndian.Uint64(header[8:])}
		length := binary.BigEndian.Uint32(header[16:])
		if header[5]|header[6]|header[7] != 0 || length > MaxPayload {
			// Not a header after all. Its magic is consumed and the search goes on behind it.
			if _, err := d.r.Discard(len(magic)); err != nil {
				return frame{}, err
			}
			continue
		}
		size := headerSize + int(length) + trailerSize
		whole, err := d.r.Peek(size) // fits: the buffer is MaxFrame long
		if err != nil {
			return frame{}, err
		}
		// Discard only moves the read position: the bytes stay until the next Peek.
		if _, err := d.r.Discard(size); err != nil {
			return frame{}, err
		}
		if !bytes.Equal(whole[size-trailerSize:], trailer[:]) {
			return f, errBrokenFrame
		}
		f.payload = whole[headerSize : headerSize+int(length)]
		return f, nil
	}
}

// seek drops bytes until the magic is next. Each byte is looked at once and nothing is kept.
func (d *decoder) seek() error {
	for {
		head, err := d.r.Peek(len(magic))
		if err != nil {
			return err
		}
		if bytes.Equal(head, magic[:]) {
			return nil
		}
		buffered, err := d.r.Peek(d.r.Buffered())
		if err != nil {
			return err
		}
		skip := bytes.IndexByte(buffered[1:], magic[0]) + 1
		if skip == 0 {
			skip = len(buffered)
		}
		if _, err := d.r.Discard(skip); err != nil {
			return err
		}
	}
}

// maxDiscard bounds what a dialler throws away before its WELCOME: more than every queue between guest and host holds, plus what an old session can
// write until the guest has read the HELLO.
const maxDiscard = 64 << 20

// awaitWelcome drops everything before the WELCOME of session, looking for its exact bytes: what precedes it may begin in the middle of an old frame,
// and old payload may look like frames, but cannot know a session number that was just chosen.
func (d *decoder) awaitWelcome(session uint64) error {
	want := appendFrame(nil, frameWelcome, session, nil)
	for discarded := 0; discarded <= maxDiscard; {
		if _, err := d.r.Peek(len(want)); err != nil {
			return err
		}
		buffered, err := d.r.Peek(d.r.Buffered())
		if err != nil {
			return err
		}
		if i := bytes.Index(buffered, want); i >= 0 {
			_, err := d.r.Discard(i + len(want))
			return err
		}
		n, err := d.r.Discard(len(buffered) - len(want) + 1)
		if err != nil {
			return err
		}
		discarded += n
	}
	return fmt.Errorf("no welcome within %d bytes", maxDiscard)
}
