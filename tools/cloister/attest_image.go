package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cloister-cc/cloister/guest"
	"github.com/cloister-cc/cloister/snp/measure"
)

// guestDir is where the guest image is when nothing else is said.
func guestDir(flag string) string {
	if flag == "" {
		return filepath.Join("out", "guest")
	}
	return flag
}

// imageHashes reads what a launch measures of a guest image.
func imageHashes(dir string) (measure.Hashes, error) {
	_, h, err := imageMeasurements(dir)
	return h, err
}

func imageMeasurements(dir string) (m guest.Measurements, h measure.Hashes, err error) {
	path := filepath.Join(dir, guest.FileMeasurements)
	b, err := os.ReadFile(path)
	if err != nil {
		return m, h, err
	}
	if err = json.Unmarshal(b, &m); err == nil {
		h, err = measure.ParseHashes(m.Kernel.SHA256, m.Initrd.SHA256, m.Cmdline.SHA256)
	}
	if err != nil {
		return m, h, fmt.Errorf("read %q: %w", path, err)
	}
	return m, h, nil
}

// imageDigests are the launch digests of a guest image that "attest verify --guest" accepts: that of a machine without firmware and, if the image was
// built for a firmware, those of real launches with it.
func imageDigests(dir string) ([][48]byte, error) {
	m, h, err := imageMeasurements(dir)
	if err != nil {
		return nil, err
	}
	out := [][48]byte{h.Emulated()}
	if m.Launch == nil {
		return out, nil
	}
	for i, text := range m.Launch.Digests {
		d, err := measure.ParseDigest(text)
		if err != nil {
			return nil, fmt.Errorf("read %q: launch digest %d: %w", filepath.Join(dir, guest.FileMeasurements), i, err)
		}
		out = append(out, d)
	}
	return out, nil
}
