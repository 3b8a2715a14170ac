package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/cloister-cc/cloister/guest"
	"github.com/cloister-cc/cloister/snp"
	"github.com/cloister-cc/cloister/snp/measure"
	"github.com/cloister-cc/cloister/snp/verify"
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

// acceptedImage is what "attest verify --guest" accepts: the launch digests of an image that was built for a firmware and, of a software processor only, the
// digest of a machine without firmware. Zero is no image.
type acceptedImage struct {
	dir      string
	launch   [][48]byte
	emulated [48]byte
}

func (i *acceptedImage) hasLaunch() bool { return i.dir == "" || len(i.launch) > 0 }

func readAcceptedImage(dir string) (i acceptedImage, err error) {
	m, h, err := imageMeasurements(dir)
	if err != nil {
		return i, err
	}
	i = acceptedImage{dir: dir, emulated: h.Emulated()}
	if m.Launch == nil {
		return i, nil
	}
	for n, text := range m.Launch.Digests {
		d, err := measure.ParseDigest(text)
		if err != nil {
			return i, fmt.Errorf("read %q: launch digest %d: %w", filepath.Join(dir, guest.FileMeasurements), n, err)
		}
		i.launch = append(i.launch, d)
	}
	return i, nil
}

// verify holds the evidence against the image too. Which digests count depends on whose root the evidence leads to: no machine can have the emulated one.
func (i *acceptedImage) verify(verifier *verify.Verifier, ev verify.Evidence, exp verify.Expectations) (*verify.Verdict, error) {
	if i.dir == "" {
		return verifier.Verify(ev, exp)
	}
	tested := exp
	tested.Measurements = append(slices.Clone(exp.Measurements), i.emulated)
	v, err := verifier.Verify(ev, tested)
	if err != nil || v.TestOnly || v.Root == "" { // without a root it is refused, whatever the digest
		return v, err
	}
	if v, err = verifier.Verify(ev, exp); err == nil && len(exp.Measurements) == 0 {
		r, err := snp.DecodeReport(ev.Report)
		if err != nil {
			return nil, err
		}
		refute(v, "measurement", "a launch digest of the image, which has none", fmt.Sprintf("%x", r.Measurement))
	}
	return v, err
}
