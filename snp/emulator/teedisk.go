package emulator

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/fxamacker/cbor/v2"
)

// TEESerial is the serial number of the virtio disk that carries the parameters.
const TEESerial = "cloister-tee"

// The disk: magic, version, length of the document, its SHA-256, the document (CBOR), zeros up to whole blocks. The hash is against half-written
// files only; the host could write another.
const (
	teeMagic      = "cloister-tee"
	teeVersion    = 1
	teeHeaderSize = len(teeMagic) + 4 + 4 + sha256.Size
	teeBlock      = 4096
	maxTEEDoc     = 64 << 10
)

var (
	teeEncoding = mustMode(cbor.CoreDetEncOptions().EncMode())
	teeDecoding = mustMode(cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
		IndefLength:       cbor.IndefLengthForbidden,
		TagsMd:            cbor.TagsForbidden,
		MaxArrayElements:  128,
		MaxMapPairs:       64,
		MaxNestedLevels:   8,
	}.DecMode())
)

func mustMode[M any](m M, err error) M {
	if err != nil {
		panic(err) // constant options
	}
	return m
}

// WriteTEEDisk writes the disk image. It holds a private key, so only the owner can read it; an existing file is replaced.
func WriteTEEDisk(path string, p TEEParams) error {
	b, err := EncodeTEEDisk(p)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".tee-") // mode 0600
	if err != nil {
		return fmt.Errorf("write tee disk: %w", err)
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write tee disk %q: %w", path, errors.Join(err, os.Remove(f.Name())))
	}
	return nil
}

// EncodeTEEDisk returns the disk's bytes.
func EncodeTEEDisk(p TEEParams) ([]byte, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	doc, err := teeEncoding.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("encode tee disk: %w", err)
	}
	if len(doc) > maxTEEDoc || len(p.Faults) > maxFaults {
		return nil, fmt.Errorf("encode tee disk: got %d bytes and %d faults, want at most %d and %d", len(doc), len(p.Faults), maxTEEDoc, maxFaults)
	}
	sum := sha256.Sum256(doc)
	b := []byte(teeMagic)
	b = binary.LittleEndian.AppendUint32(b, teeVersion)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(doc)))
	b = append(append(b, sum[:]...), doc...)
	return append(b, make([]byte, (teeBlock-len(b)%teeBlock)%teeBlock)...), nil
}

// ReadTEEDisk reads the parameters from a disk; what follows the document is not looked at.
func ReadTEEDisk(r io.Reader) (TEEParams, error) {
	header := make([]byte, teeHeaderSize)
	if _, err := io.ReadFull(r, header); err != nil {
		return TEEParams{}, fmt.Errorf("read tee disk: header: %w", err)
	}
	rest, ok := bytes.CutPrefix(header, []byte(teeMagic))
	if !ok {
		return TEEParams{}, fmt.Errorf("read tee disk: got %q, want %q at the start", header[:len(teeMagic)], teeMagic)
	}
	version, size := binary.LittleEndian.Uint32(rest), binary.LittleEndian.Uint32(rest[4:])
	if version != teeVersion || size > maxTEEDoc {
		return TEEParams{}, fmt.Errorf("read tee disk: got version %d and %d bytes, want version %d and at most %d", version, size, teeVersion, maxTEEDoc)
	}
	doc := make([]byte, size)
	if _, err := io.ReadFull(r, doc); err != nil {
		return TEEParams{}, fmt.Errorf("read tee disk: document: %w", err)
	}
	if sum := sha256.Sum256(doc); !bytes.Equal(sum[:], rest[8:]) {
		return TEEParams{}, errors.New("read tee disk: the document is not the one that was written")
	}
	var p TEEParams
	if err := teeDecoding.Unmarshal(doc, &p); err != nil {
		return TEEParams{}, fmt.Errorf("read tee disk: %w", err)
	}
	if len(p.Faults) > maxFaults {
		return TEEParams{}, fmt.Errorf("read tee disk: got %d faults, want at most %d", len(p.Faults), maxFaults)
	}
	if err := p.check(); err != nil {
		return TEEParams{}, fmt.Errorf("read tee disk: %w", err)
	}
	return p, nil
}

// ErrNoTEEDisk says that the machine was started without the disk.
var ErrNoTEEDisk = errors.New("no disk with serial " + TEESerial)

// FindTEEDisk returns the name of the disk (such as "vda") by its serial number in /sys/block. Two of them are an error: the machine could
// not tell which was meant.
func FindTEEDisk(sysBlock string) (string, error) {
	disks, err := os.ReadDir(sysBlock)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("find tee disk: %w", err)
	}
	var found []string
	for _, d := range disks {
		serial, err := os.ReadFile(filepath.Join(sysBlock, d.Name(), "serial"))
		if err == nil && strings.TrimSpace(string(serial)) == TEESerial {
			found = append(found, d.Name())
		}
	}
	switch len(found) {
	case 0:
		return "", ErrNoTEEDisk
	case 1:
		return found[0], nil
	}
	return "", fmt.Errorf("find tee disk: got %d disks with serial %q, want one", len(found), TEESerial)
}
