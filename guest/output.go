package guest

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cloister-cc/cloister/snp/measure"
)

// Names of the files of an image directory.
const (
	FileKernel       = "vmlinuz"
	FileInitrd       = "initrd.img"
	FileCmdline      = "cmdline"
	FileMeasurements = "measurements.json"
	FilePackages     = "packages.json"
	FileSums         = "SHA256SUMS"
)

// outputFiles is exactly what an image directory holds.
var outputFiles = []string{FileSums, FileCmdline, FileInitrd, FileMeasurements, FilePackages, FileKernel}

// Digest is the SHA-256 and the length of some bytes.
type Digest struct {
	SHA256 string `json:"sha256"`
	Size   int64  `json:"size"`
}

func digest(b []byte) Digest {
	sum := sha256.Sum256(b)
	return Digest{SHA256: hex.EncodeToString(sum[:]), Size: int64(len(b))}
}

// Measurements is measurements.json: what the launch measurement covers, hashed as QEMU's kernel-hashes page has it.
type Measurements struct {
	Version int    `json:"version"`
	Kind    string `json:"kind"` // "production" or "development"
	Kernel  Digest `json:"vmlinuz"`
	Initrd  Digest `json:"initrd"`
	// Cmdline covers the ending NUL, which the file does not have.
	Cmdline  Digest  `json:"cmdline"`
	Agent    Digest  `json:"agent"`
	Emulator *Digest `json:"emulator,omitempty"`
	// Emulated is the MEASUREMENT of a machine without SNP firmware, as the software SNP processor reports it.
	Emulated string `json:"emulated"`
	// Launch has the MEASUREMENTs of real launches; nil if the build was given no firmware.
	Launch *LaunchDigests `json:"launch,omitempty"`
}

// Result says what was built.
type Result struct {
	Dir          string       `json:"dir"`
	Measurements Measurements `json:"measurements"`
}

func (img *image) measure() (Measurements, error) {
	hashes := measure.HashParts(img.vmlinuz, img.initrd, Cmdline)
	launch, err := img.launch.measure(hashes)
	if err != nil {
		return Measurements{}, err
	}
	m := Measurements{
		Version: 1, Emulated: hashes.Emulated().String(), Launch: launch,
		Kind:    img.kind,
		Kernel:  digest(img.vmlinuz),
		Initrd:  digest(img.initrd),
		Cmdline: digest(append([]byte(Cmdline), 0)),
		Agent:   digest(img.agent),
	}
	if img.kind == Development {
		d := digest(img.emulator)
		m.Emulator = &d
	}
	return m, nil
}

// write puts the image into dir in one step: a reader sees the old image or the new one.
func (img *image) write(dir string) (*Result, error) {
	m, err := img.measure()
	if err != nil {
		return nil, err
	}
	result := &Result{Dir: dir, Measurements: m}
	measurements, err := marshal(result.Measurements)
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{
		FileKernel:       img.vmlinuz,
		FileInitrd:       img.initrd,
		FileCmdline:      []byte(Cmdline),
		FileMeasurements: measurements,
		FilePackages:     img.packages,
	}
	files[FileSums] = sums(files)
	dir = filepath.Clean(dir)
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return nil, err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), ".guest-build-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	for name, data := range files {
		if err := writeFile(filepath.Join(tmp, name), data); err != nil {
			return nil, err
		}
	}
	if err := os.Chmod(tmp, 0o755); err != nil {
		return nil, err
	}
	return result, replaceDir(tmp, dir)
}

// writeFile writes a file whose mode does not depend on the umask.
func writeFile(name string, data []byte) error {
	if err := os.WriteFile(name, data, 0o644); err != nil {
		return err
	}
	return os.Chmod(name, 0o644)
}

func sums(files map[string][]byte) []byte {
	var b strings.Builder
	for _, name := range outputFiles {
		if data, ok := files[name]; ok {
			fmt.Fprintf(&b, "%s  %s\n", digest(data).SHA256, name)
		}
	}
	return []byte(b.String())
}

// checkReplaceable refuses to replace a directory that holds anything we did not write.
func checkReplaceable(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("replace %s: %w", dir, err)
	}
	for _, e := range entries {
		if !slices.Contains(outputFiles, e.Name()) || !e.Type().IsRegular() {
			return fmt.Errorf("replace %s: it holds %q, which is no file of a guest image (name another directory)", dir, e.Name())
		}
	}
	return nil
}

// replaceDir moves tmp to dir; what was at dir is then at tmp.
func replaceDir(tmp, dir string) error {
	err := unix.Renameat2(unix.AT_FDCWD, tmp, unix.AT_FDCWD, dir, unix.RENAME_EXCHANGE)
	if errors.Is(err, unix.ENOENT) {
		err = os.Rename(tmp, dir)
	}
	if err != nil {
		return fmt.Errorf("replace %s: %w", dir, err)
	}
	return nil
}
