package initdata

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

const (
	magic      = "initdata"
	headerSize = 16
	sectorSize = 512
)

// Probe says whether a device starts with the initdata word. It reads eight bytes.
func Probe(r io.ReaderAt) (bool, error) {
	var head [len(magic)]byte
	if _, err := r.ReadAt(head[:], 0); err != nil {
		if errors.Is(err, io.EOF) {
			return false, nil
		}
		return false, fmt.Errorf("probe initdata: %w", err)
	}
	return string(head[:]) == magic, nil
}

// Read reads the document of a disk of the given size. Each byte is read once: what is hashed is what is parsed, and a
// disk that answers differently the second time gains nothing.
func Read(r io.ReaderAt, size int64) (*Document, error) {
	raw, err := unpack(r, size)
	if err != nil {
		return nil, fmt.Errorf("read initdata disk: %w", err)
	}
	return Parse(raw)
}

// unpack returns the unpacked payload.
func unpack(r io.ReaderAt, size int64) ([]byte, error) {
	if size < headerSize {
		return nil, fmt.Errorf("device size got %d, want at least %d: %w", size, headerSize, ErrMalformed)
	}
	var header [headerSize]byte
	if _, err := r.ReadAt(header[:], 0); err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	if string(header[:len(magic)]) != magic {
		return nil, fmt.Errorf("magic got %q, want %q: %w", header[:len(magic)], magic, ErrMalformed)
	}
	length := binary.LittleEndian.Uint64(header[len(magic):])
	if length == 0 || length > uint64(size-headerSize) {
		return nil, fmt.Errorf("payload length got %d, want 1 to %d: %w", length, size-headerSize, ErrMalformed)
	}
	return inflate(io.NewSectionReader(r, headerSize, int64(length)))
}

// inflate unpacks exactly one gzip member that fills the payload. A second member or bytes behind it would be content that
// some readers of the format see and others do not.
func inflate(payload io.Reader) ([]byte, error) {
	in := bufio.NewReader(payload)
	zr, err := gzip.NewReader(in)
	if err != nil {
		return nil, fmt.Errorf("gzip header: %w: %w", err, ErrMalformed)
	}
	zr.Multistream(false)
	var out bytes.Buffer
	n, err := io.Copy(&out, io.LimitReader(zr, MaxUnpacked+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("gzip payload: %w: %w", err, ErrMalformed)
	case n > MaxUnpacked:
		return nil, fmt.Errorf("unpacked size: more than %d bytes: %w", MaxUnpacked, ErrMalformed)
	}
	if _, err := in.ReadByte(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("gzip payload: bytes after its end: %w", ErrMalformed)
	}
	return out.Bytes(), nil
}

// WriteDisk writes the disk that carries a raw document. The same document gives the same bytes.
func WriteDisk(w io.Writer, raw []byte) error {
	var disk bytes.Buffer
	disk.Write(make([]byte, headerSize))
	zw, err := gzip.NewWriterLevel(&disk, gzip.BestCompression)
	if err != nil {
		return err
	}
	if _, err := zw.Write(raw); err != nil {
		return err
	}
	if err := zw.Close(); err != nil {
		return err
	}
	length := disk.Len() - headerSize
	if pad := disk.Len() % sectorSize; pad != 0 {
		disk.Write(make([]byte, sectorSize-pad))
	}
	image := disk.Bytes()
	copy(image, magic)
	binary.LittleEndian.PutUint64(image[len(magic):], uint64(length))
	if _, err := w.Write(image); err != nil {
		return fmt.Errorf("write initdata disk: %w", err)
	}
	return nil
}
