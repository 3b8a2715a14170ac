package run

import (
	"bytes"
	"io"
	"sync"
)

// maxLine is the longest line that is kept together when several containers share one output.
const maxLine = 16 << 10

// LineMux merges the output of several containers into one writer without mixing their lines.
type LineMux struct {
	mu  sync.Mutex
	out io.Writer
}

// NewLineMux writes to out, one whole line at a time.
func NewLineMux(out io.Writer) *LineMux { return &LineMux{out: out} }

// Writer returns a writer whose lines all start with prefix. Close writes what is left of an unfinished line.
func (m *LineMux) Writer(prefix string) io.WriteCloser { return &lineWriter{mux: m, prefix: prefix} }

type lineWriter struct {
	mux    *LineMux
	prefix string
	rest   []byte
}

func (w *lineWriter) Write(p []byte) (int, error) {
	w.rest = append(w.rest, p...)
	for {
		end := bytes.IndexByte(w.rest, '\n')
		switch {
		case end < 0 && len(w.rest) < maxLine:
			return len(p), nil
		case end < 0 || end > maxLine:
			end = maxLine
			if err := w.emit(w.rest[:end]); err != nil {
				return 0, err
			}
		default:
			if err := w.emit(w.rest[:end]); err != nil {
				return 0, err
			}
			end++
		}
		w.rest = append(w.rest[:0], w.rest[end:]...)
	}
}

func (w *lineWriter) Close() error {
	if len(w.rest) == 0 {
		return nil
	}
	err := w.emit(w.rest)
	w.rest = nil
	return err
}

func (w *lineWriter) emit(line []byte) error {
	whole := make([]byte, 0, len(w.prefix)+len(line)+1)
	whole = append(whole, w.prefix...)
	whole = append(whole, bytes.TrimSuffix(line, []byte("\r"))...)
	whole = append(whole, '\n')
	w.mux.mu.Lock()
	defer w.mux.mu.Unlock()
	_, err := w.mux.out.Write(whole)
	return err
}
