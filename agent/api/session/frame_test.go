package session

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"runtime"
	"testing"
	"testing/iotest"
)

func TestFrameRoundTrip(t *testing.T) {
	for _, size := range []int{0, 1, 1000, MaxPayload} {
		payload := bytes.Repeat([]byte{0xc1}, size) // the worst payload for a search
		raw := appendFrame([]byte("noise\xc1\xc1\x01s"), frameData, 7, payload)
		if len(raw)-9 > MaxFrame {
			t.Fatalf("frame of %d bytes, want at most %d", len(raw)-9, MaxFrame)
		}
		for name, r := range map[string]io.Reader{"whole": bytes.NewReader(raw), "bytewise": iotest.OneByteReader(bytes.NewReader(raw))} {
			f, err := newDecoder(r).next()
			if err != nil || f.kind != frameData || f.session != 7 || !bytes.Equal(f.payload, payload) {
				t.Fatalf("%s, %d bytes: got %d, %d, %d bytes, %v", name, size, f.kind, f.session, len(f.payload), err)
			}
		}
	}
}

func TestTrailerAndMagicSurviveZeros(t *testing.T) {
	if bytes.IndexByte(trailer[:], 0) >= 0 {
		t.Error("a zero in the trailer: a frame cut there would be completed by zeros")
	}
	if bytes.IndexByte(magic[1:], magic[0]) >= 0 {
		t.Error("the first byte of the magic repeats: a search would have to step back")
	}
}

// Every prefix of a frame followed by the dialler's zeros is no frame, and the HELLO behind is found.
func TestEachPrefixCompletedByZeros(t *testing.T) {
	for _, size := range []int{0, 5, MaxPayload} {
		raw := appendFrame(nil, frameData, 7, bytes.Repeat([]byte{0xff}, size))
		for cut := range raw {
			if size == MaxPayload && cut > 2*headerSize && cut < len(raw)-2*trailerSize {
				continue
			}
			stream := append(append([]byte(nil), raw[:cut]...), make([]byte, MaxFrame)...)
			d := newDecoder(bytes.NewReader(appendFrame(stream, frameHello, 8, nil)))
			f, err := d.next()
			for errors.Is(err, errBrokenFrame) {
				f, err = d.next()
			}
			if err != nil || f.kind != frameHello || f.session != 8 {
				t.Fatalf("cut at %d of %d: got type %d, session %d, %v", cut, len(raw), f.kind, f.session, err)
			}
		}
	}
}

// A length is believed only after it was bounded: a hostile header must not cost memory.
func TestHostileLengthAllocatesNothing(t *testing.T) {
	header := appendFrame(nil, frameData, 1, nil)
	for _, length := range []uint32{MaxPayload + 1, 1 << 20, 1<<31 - 1, 1<<32 - 1} {
		binary.BigEndian.PutUint32(header[16:], length)
		stream := bytes.Repeat(header, 1000)
		d := newDecoder(bytes.NewReader(stream))
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if _, err := d.next(); err != io.EOF {
			t.Fatalf("length %d: got %v, want EOF", length, err)
		}
		runtime.ReadMemStats(&after)
		if grown := after.TotalAlloc - before.TotalAlloc; grown > 64<<10 {
			t.Errorf("length %d: allocated %d bytes", length, grown)
		}
	}
}

func TestAwaitWelcomeIsBounded(t *testing.T) {
	endless := &countingReader{}
	if err := newDecoder(endless).awaitWelcome(3); err == nil {
		t.Fatal("found a welcome in noise")
	}
	if endless.n > maxDiscard+2*MaxFrame {
		t.Fatalf("read %d bytes, want about %d", endless.n, maxDiscard)
	}
}

type countingReader struct{ n int }

func (r *countingReader) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = magic[0]
	}
	r.n += len(p)
	return len(p), nil
}

func FuzzDecoder(f *testing.F) {
	hello := appendFrame(nil, frameHello, 1, nil)
	f.Add(hello)
	f.Add(appendFrame(append([]byte(nil), hello[:9]...), frameData, 2, []byte("data")))
	f.Add(append(append([]byte(nil), hello[:23]...), make([]byte, 64)...))
	f.Fuzz(func(t *testing.T, stream []byte) {
		// However the stream is cut into reads, the frames are the same, and each is in the stream byte for byte, in order.
		whole := decodeAll(t, bytes.NewReader(stream))
		bytewise := decodeAll(t, iotest.OneByteReader(bytes.NewReader(stream)))
		if len(whole) != len(bytewise) {
			t.Fatalf("%d frames in one read, %d byte by byte", len(whole), len(bytewise))
		}
		rest := stream
		for i, raw := range whole {
			if !bytes.Equal(raw, bytewise[i]) {
				t.Fatalf("frame %d differs with the reads", i)
			}
			at := bytes.Index(rest, raw)
			if at < 0 {
				t.Fatalf("frame %d is not in the stream", i)
			}
			rest = rest[at+len(raw):]
		}
	})
}

func decodeAll(t *testing.T, r io.Reader) [][]byte {
	t.Helper()
	var frames [][]byte
	for d := newDecoder(r); ; {
		f, err := d.next()
		switch {
		case errors.Is(err, errBrokenFrame):
			if f.payload != nil {
				t.Fatal("a cut frame came with a payload")
			}
		case err != nil:
			return frames
		default:
			frames = append(frames, appendFrame(nil, f.kind, f.session, f.payload))
		}
	}
}
