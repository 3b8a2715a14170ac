package guest

import (
	"bytes"
	"compress/gzip"
	"debug/elf"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// note is one ELF note.
func note(name string, typ uint32, desc []byte) []byte {
	pad := func(b []byte) []byte { return append(b, make([]byte, -len(b)&3)...) }
	b := binary.LittleEndian.AppendUint32(nil, uint32(len(name)))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(desc)))
	b = binary.LittleEndian.AppendUint32(b, typ)
	return append(append(b, pad([]byte(name))...), pad(desc)...)
}

// fakeVMLinux is an ELF file whose only segment holds notes.
func fakeVMLinux(t *testing.T, notes []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	ident := [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)}
	for _, part := range []any{
		elf.Header64{Ident: ident, Type: uint16(elf.ET_EXEC), Machine: uint16(elf.EM_X86_64), Version: 1, Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: 1},
		elf.Prog64{Type: uint32(elf.PT_NOTE), Off: 120, Filesz: uint64(len(notes))},
		notes,
	} {
		if err := binary.Write(&b, binary.LittleEndian, part); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

// bzImage wraps a payload in a boot sector of one setup sector.
func bzImage(payload []byte) []byte {
	b := make([]byte, 1024, 1024+16+len(payload))
	b[offSetupSects] = 1
	copy(b[offHeaderMagic:], "HdrS")
	binary.LittleEndian.PutUint16(b[offVersion:], 0x20f)
	binary.LittleEndian.PutUint32(b[offPayloadOffset:], 16)
	binary.LittleEndian.PutUint32(b[offPayloadLength:], uint32(len(payload)))
	return append(append(b, make([]byte, 16)...), payload...)
}

// compressed runs data through a compressor; all but gzip are followed by the size, as the kernel's build does it.
func compressed(t *testing.T, data []byte, writer func(io.Writer) (io.WriteCloser, error), size bool) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := writer(&b)
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.Write(data)
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	if size {
		return binary.LittleEndian.AppendUint32(b.Bytes(), uint32(len(data)))
	}
	return b.Bytes()
}

func gzipWriter(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil }
func zstdWriter(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w) }
func lz4Writer(w io.Writer) (io.WriteCloser, error) {
	z := lz4.NewWriter(w)
	return z, z.Apply(lz4.LegacyOption(true))
}

var pvhNote = note("Xen\x00", xenPhys32Entry, []byte{0, 0, 0, 1})

func TestExtractVMLinux(t *testing.T) {
	want := fakeVMLinux(t, append(note("GNU\x00", 3, []byte("12345")), pvhNote...))
	for _, tt := range []struct {
		name   string
		writer func(io.Writer) (io.WriteCloser, error)
		size   bool
	}{
		{"gzip", gzipWriter, false},
		{"zstd", zstdWriter, true},
		{"lz4", lz4Writer, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ExtractVMLinux(bzImage(compressed(t, want, tt.writer, tt.size)))
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("got %d bytes, %v, want the %d that went in", len(got), err, len(want))
			}
		})
	}
}

func TestExtractVMLinuxRefuses(t *testing.T) {
	good := fakeVMLinux(t, pvhNote)
	payload := compressed(t, good, zstdWriter, true)
	change := func(f func(b []byte)) []byte {
		b := bzImage(payload)
		f(b)
		return b
	}
	for _, tt := range []struct {
		name  string
		image []byte
		want  string
	}{
		{"empty", nil, "no HdrS"},
		{"elf", good, "no HdrS"},
		{"old-protocol", change(func(b []byte) { b[offVersion] = 7 }), "boot protocol 0x207"},
		{"payload-beyond-the-end", change(func(b []byte) { binary.LittleEndian.PutUint32(b[offPayloadOffset:], 1<<31) }), "the file has"},
		{"payload-length", change(func(b []byte) { binary.LittleEndian.PutUint32(b[offPayloadLength:], 1<<32-1) }), "the file has"},
		{"payload-too-short", bzImage([]byte("1234567")), "payload of 7 bytes"},
		{"unknown-compression", bzImage([]byte("nothing known\x01\x00\x00\x00")), "want gzip, xz, zstd or lz4"},
		{"size-too-large", bzImage(append(bytes.Clone(payload[:len(payload)-4]), 0xff, 0xff, 0xff, 0xff)), "unpacked size of 4294967295"},
		{"size-zero", bzImage(append(bytes.Clone(payload[:len(payload)-4]), 0, 0, 0, 0)), "unpacked size of 0"},
		{"longer-than-its-size", bzImage(append(bytes.Clone(payload[:len(payload)-4]), 1, 0, 0, 0)), "longer than the 1 bytes"},
		{"shorter-than-its-size", bzImage(append(bytes.Clone(payload[:len(payload)-4]), 0, 0, 1, 0)), "unpack the payload: unexpected EOF"},
		{"no-elf", bzImage(compressed(t, bytes.Repeat([]byte("text"), 64), zstdWriter, true)), "bad magic number"},
		{"no-pvh-note", bzImage(compressed(t, fakeVMLinux(t, note("Xen\x00", 17, nil)), zstdWriter, true)), "no PVH entry"},
		{"note-of-another-name", bzImage(compressed(t, fakeVMLinux(t, note("Zen\x00", xenPhys32Entry, nil)), zstdWriter, true)), "no PVH entry"},
		{"note-cut-short", bzImage(compressed(t, fakeVMLinux(t, pvhNote[:len(pvhNote)-4]), zstdWriter, true)), "no PVH entry"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got, err := ExtractVMLinux(tt.image); err == nil || got != nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %d bytes, %v, want %q", len(got), err, tt.want)
			}
		})
	}
}
