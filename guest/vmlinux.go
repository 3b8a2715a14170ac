package guest

import (
	"bytes"
	"compress/gzip"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/therootcompany/xz"
)

// maxVMLinux bounds what a compressed kernel may unpack to; Debian's is 50 MB.
const maxVMLinux = 512 << 20

// Offsets in the boot protocol's setup header, Documentation/arch/x86/boot.rst in the kernel's tree.
const (
	offSetupSects    = 0x1f1
	offHeaderMagic   = 0x202 // "HdrS"
	offVersion       = 0x206
	offPayloadOffset = 0x248
	offPayloadLength = 0x24c
	endHeader        = 0x250
)

// ExtractVMLinux unpacks the ELF kernel from a bzImage. QEMU boots it at its PVH entry, which saves unpacking 8 MB of
// xz under emulation; it is not what an SNP launch measures.
func ExtractVMLinux(bzImage []byte) ([]byte, error) {
	payload, err := kernelPayload(bzImage)
	if err != nil {
		return nil, fmt.Errorf("extract vmlinux: %w", err)
	}
	vmlinux, err := decompress(payload)
	if err != nil {
		return nil, fmt.Errorf("extract vmlinux: %w", err)
	}
	if err := checkPVH(vmlinux); err != nil {
		return nil, fmt.Errorf("extract vmlinux: %w", err)
	}
	return vmlinux, nil
}

// VMLinux returns the path of the extracted form of the kernel at vmlinuz, from the user's cache when it is there.
func VMLinux(vmlinuz string) (string, error) {
	bzImage, err := os.ReadFile(vmlinuz)
	if err != nil {
		return "", err
	}
	dir, err := cacheDir("vmlinux")
	if err != nil {
		return "", err
	}
	name := filepath.Join(dir, digest(bzImage).SHA256)
	if cached, err := os.ReadFile(name); err == nil && checkPVH(cached) == nil {
		return name, nil
	}
	vmlinux, err := ExtractVMLinux(bzImage)
	if err != nil {
		return "", err
	}
	tmp, err := os.CreateTemp(dir, ".new-")
	if err != nil {
		return "", err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(vmlinux)
	if err := errors.Join(err, tmp.Close()); err != nil {
		return "", err
	}
	return name, os.Rename(tmp.Name(), name)
}

func kernelPayload(b []byte) ([]byte, error) {
	if len(b) < endHeader || string(b[offHeaderMagic:offHeaderMagic+4]) != "HdrS" {
		return nil, errors.New("not a bzImage: no HdrS at 0x202")
	}
	if v := binary.LittleEndian.Uint16(b[offVersion:]); v < 0x208 {
		return nil, fmt.Errorf("got boot protocol %#x, want 0x208 or later, which says where the payload is", v)
	}
	sects := int64(b[offSetupSects])
	if sects == 0 {
		sects = 4
	}
	start := (sects+1)*512 + int64(binary.LittleEndian.Uint32(b[offPayloadOffset:]))
	length := int64(binary.LittleEndian.Uint32(b[offPayloadLength:]))
	if start+length > int64(len(b)) || length < 8 {
		return nil, fmt.Errorf("payload of %d bytes at %d: the file has %d", length, start, len(b))
	}
	return b[start : start+length], nil
}

// decompress unpacks a payload. All forms but gzip, which has it anyway, are followed by the unpacked size.
func decompress(payload []byte) ([]byte, error) {
	body, tail := payload[:len(payload)-4], payload[len(payload)-4:]
	size := int64(binary.LittleEndian.Uint32(tail))
	if size == 0 || size > maxVMLinux {
		return nil, fmt.Errorf("unpacked size of %d bytes: want at most %d", size, maxVMLinux)
	}
	var r io.Reader
	switch {
	case bytes.HasPrefix(payload, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(bytes.NewReader(payload))
		if err != nil {
			return nil, err
		}
		r = z
	case bytes.HasPrefix(payload, []byte("\xfd7zXZ\x00")):
		z, err := xz.NewReader(bytes.NewReader(body), xz.DefaultDictMax)
		if err != nil {
			return nil, err
		}
		r = z
	case bytes.HasPrefix(payload, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		// Kernels are packed with a window of up to 128 MiB.
		z, err := zstd.NewReader(bytes.NewReader(body), zstd.WithDecoderMaxMemory(maxVMLinux), zstd.WithDecoderMaxWindow(128<<20))
		if err != nil {
			return nil, err
		}
		defer z.Close()
		r = z
	case bytes.HasPrefix(payload, []byte{0x02, 0x21, 0x4c, 0x18}):
		r = lz4.NewReader(bytes.NewReader(body))
	default:
		return nil, fmt.Errorf("payload begins with % x: want gzip, xz, zstd or lz4", payload[:6])
	}
	out := make([]byte, size)
	if _, err := io.ReadFull(r, out); err != nil {
		return nil, fmt.Errorf("unpack the payload: %w", err)
	}
	if n, err := r.Read(make([]byte, 1)); n != 0 {
		return nil, fmt.Errorf("unpack the payload: it is longer than the %d bytes it says", size)
	} else if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("unpack the payload: %w", err)
	}
	return out, nil
}

// xenPhys32Entry is XEN_ELFNOTE_PHYS32_ENTRY: the note that tells QEMU where a kernel starts in 32-bit protected mode.
const xenPhys32Entry = 18

// checkPVH makes sure that QEMU's -kernel takes the file.
func checkPVH(vmlinux []byte) error {
	f, err := elf.NewFile(bytes.NewReader(vmlinux))
	if err != nil {
		return err
	}
	for _, p := range f.Progs {
		if p.Type != elf.PT_NOTE || p.Filesz > 1<<20 {
			continue
		}
		notes := make([]byte, p.Filesz)
		if _, err := p.ReadAt(notes, 0); err != nil {
			return err
		}
		if hasNote(notes, "Xen\x00", xenPhys32Entry) {
			return nil
		}
	}
	return errors.New("the kernel has no PVH entry (note XEN_ELFNOTE_PHYS32_ENTRY, CONFIG_PVH): QEMU cannot boot it as an ELF file")
}

func hasNote(notes []byte, name string, typ uint32) bool {
	align := func(n uint32) uint64 { return (uint64(n) + 3) &^ 3 }
	for len(notes) >= 12 {
		nameSize, descSize := binary.LittleEndian.Uint32(notes), binary.LittleEndian.Uint32(notes[4:])
		end := 12 + align(nameSize) + align(descSize)
		if end > uint64(len(notes)) {
			return false
		}
		if binary.LittleEndian.Uint32(notes[8:]) == typ && string(notes[12:12+nameSize]) == name {
			return true
		}
		notes = notes[end:]
	}
	return false
}
