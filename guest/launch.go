package guest

import (
	"errors"
	"fmt"

	"github.com/cloister-cc/cloister/snp/measure"
)

// LaunchVCPUs is the largest number of processors whose launch digest is written beside an image.
const LaunchVCPUs = 64

// Launch says how QEMU launches the image under SEV-SNP, for the digests in measurements.json. All of it is measured.
type Launch struct {
	// Firmware is an OVMF image that checks kernel hashes.
	Firmware string
	// CPUType is QEMU's name of the processor's model; measure.DefaultCPUType if it is empty.
	CPUType string
	// GuestFeatures is SEV_FEATURES; measure.DefaultGuestFeatures if it is 0.
	GuestFeatures uint64
	// NoFPUState is for hosts older than Linux 6.10, see measure.Launch.
	NoFPUState bool
}

// LaunchDigests is the member launch of measurements.json: the MEASUREMENT that reports carry, and everything beside the image that it depends on.
type LaunchDigests struct {
	VMM           string `json:"vmm"`
	CPUType       string `json:"vcpu_type"`
	CPU           string `json:"vcpu_signature"` // of CPUID, in hex
	GuestFeatures string `json:"guest_features"` // in hex
	NoFPUState    bool   `json:"no_fpu_state,omitempty"`
	Firmware      Digest `json:"firmware"`
	// FirmwareDigest is the launch digest after the firmware's own pages: with it, the rest can be computed without the image of the firmware.
	FirmwareDigest string `json:"firmware_launch_digest"`
	// Digests has LaunchVCPUs elements; the first is that of one processor.
	Digests []string `json:"digests"`
}

// launchPlan is a Launch whose inputs were read and found usable, before the time for a build is spent.
type launchPlan struct {
	launch   measure.Launch
	cpuType  string
	firmware *measure.Firmware
	file     Digest
}

// plan reads the firmware. A firmware that cannot launch the image is an error now.
func (l *Launch) plan() (*launchPlan, error) {
	if l == nil {
		return nil, nil
	}
	if l.Firmware == "" {
		return nil, errors.New("launch digests: no firmware given")
	}
	p := &launchPlan{cpuType: l.CPUType, launch: measure.Launch{VMM: measure.QEMU, GuestFeatures: l.GuestFeatures, NoFPUState: l.NoFPUState}}
	if p.cpuType == "" {
		p.cpuType = measure.DefaultCPUType
	}
	if p.launch.GuestFeatures == 0 {
		p.launch.GuestFeatures = measure.DefaultGuestFeatures
	}
	var err error
	if p.launch.CPU, err = measure.CPUType(p.cpuType); err != nil {
		return nil, fmt.Errorf("launch digests: %w", err)
	}
	var image []byte
	if p.firmware, image, err = measure.ReadFirmware(l.Firmware); err != nil {
		return nil, fmt.Errorf("launch digests: %w", err)
	}
	p.file = digest(image)
	_, err = p.digests(measure.Hashes{})
	return p, err
}

func (p *launchPlan) digests(h measure.Hashes) ([]measure.Digest, error) {
	l := p.launch
	l.Kernel = &h
	all, err := l.Digests(p.firmware, LaunchVCPUs)
	if err != nil {
		return nil, fmt.Errorf("launch digests: %w", err)
	}
	return all, nil
}

// measure is what measurements.json says of a launch of an image with these hashes.
func (p *launchPlan) measure(h measure.Hashes) (*LaunchDigests, error) {
	if p == nil {
		return nil, nil
	}
	all, err := p.digests(h)
	if err != nil {
		return nil, err
	}
	out := &LaunchDigests{
		VMM: string(p.launch.VMM), CPUType: p.cpuType, CPU: fmt.Sprintf("%#x", uint32(p.launch.CPU)), GuestFeatures: fmt.Sprintf("%#x", p.launch.GuestFeatures),
		NoFPUState: p.launch.NoFPUState, Firmware: p.file, FirmwareDigest: p.firmware.Digest().String(),
	}
	for _, d := range all {
		out.Digests = append(out.Digests, d.String())
	}
	return out, nil
}
