package measure

import (
	"errors"
	"fmt"
)

// vmsaAddress is the guest address at which KVM measures every VMSA: -1, cut to a page and to 48 bits of physical address.
const vmsaAddress = 0xFFFFFFFFF000

// MaxVCPUs bounds how many processors are predicted.
const MaxVCPUs = 512

// DefaultGuestFeatures is SEV_FEATURES of most launches: SNP active, nothing else. Host kernels 6.6 and 6.7 added DebugSwap (0x21), which is a common
// reason of a digest that does not match.
const DefaultGuestFeatures = 0x1

const featureSNPActive = 0x1

// Launch is how a guest is launched, beside its firmware. The zero value is no launch: VMM and GuestFeatures must be set.
type Launch struct {
	VMM VMM
	// CPU is the processor's signature. It counts under QEMU only, see Signature and CPUType.
	CPU CPU
	// GuestFeatures is SEV_FEATURES of every VMSA; bit 0 (SNP active) must be set.
	GuestFeatures uint64
	// NoFPUState says that the host's KVM leaves MXCSR and the x87 control word zero, as it did before Linux 6.10. It counts under QEMU only.
	NoFPUState bool
	// Kernel are the hashes of a directly booted kernel; nil means that QEMU is given none or has kernel-hashes=off.
	Kernel *Hashes
	// Firmware, if it is not nil, is Firmware.Digest of the image that is launched. The image given to Digests then only lends its metadata and
	// its reset address, which must be the same.
	Firmware *Digest
}

// Digest is the launch digest of a guest with so many processors.
func (l Launch) Digest(fw *Firmware, vcpus int) (Digest, error) {
	all, err := l.Digests(fw, vcpus)
	if err != nil {
		return Digest{}, err
	}
	return all[vcpus-1], nil
}

// Digests are the launch digests of guests with 1, 2, … vcpus processors (at most MaxVCPUs); element n-1 is that of n.
func (l Launch) Digests(fw *Firmware, vcpus int) ([]Digest, error) {
	if err := l.check(vcpus); err != nil {
		return nil, err
	}
	if fw.SVSMEntry != nil {
		return nil, errors.New("measure: the firmware is an SVSM, want OVMF (see DigestsUnderSVSM)")
	}
	bsp, err := l.saveArea(bspEntry)
	if err != nil {
		return nil, err
	}
	ap := bsp
	if vcpus > 1 {
		if fw.ResetEIP == nil {
			return nil, fmt.Errorf("measure %d processors: the firmware does not say where the second one starts (no SEV-ES reset block)", vcpus)
		}
		if ap, err = l.saveArea(*fw.ResetEIP); err != nil {
			return nil, err
		}
	}
	c := Context{digest: fw.seed(l.Firmware)}
	if err := l.sections(&c, fw); err != nil {
		return nil, err
	}
	return c.vmsas(bsp.Page(), ap.Page(), vcpus), nil
}

func (l Launch) check(vcpus int) error {
	if vcpus < 1 || vcpus > MaxVCPUs {
		return fmt.Errorf("measure: got %d processors, want 1 to %d", vcpus, MaxVCPUs)
	}
	if l.GuestFeatures&featureSNPActive == 0 {
		return fmt.Errorf("measure: guest features: got %#x, want bit 0 (SNP active) set", l.GuestFeatures)
	}
	return nil
}

func (f *Firmware) seed(instead *Digest) Digest {
	if instead != nil {
		return *instead
	}
	return f.Digest()
}

// vmsas extends the digest by one VMSA a processor and returns the digest after each.
func (c *Context) vmsas(bsp, ap []byte, vcpus int) []Digest {
	first, others := contentsOf(bsp), contentsOf(ap)
	out := make([]Digest, vcpus)
	for i := range out {
		contents := others
		if i == 0 {
			contents = first
		}
		c.page(PageVMSA, vmsaAddress, contents)
		out[i] = c.Digest()
	}
	return out
}

// sections launches the sections of the firmware's metadata, in its order but for EC2's CPUID pages, which come last.
func (l Launch) sections(c *Context, fw *Firmware) error {
	if len(fw.Sections) == 0 {
		return errors.New("measure: the firmware has no SEV metadata: it cannot be launched under SEV-SNP")
	}
	hashes, err := l.hashPage(fw)
	if err != nil {
		return err
	}
	var last []Section
	for _, s := range fw.Sections {
		switch {
		case s.Kind == SectionCPUID && l.VMM == EC2:
			last = append(last, s)
		case s.Kind == SectionKernelHashes && hashes != nil:
			if err := c.Update(PageNormal, uint64(s.Address), hashes); err != nil {
				return err
			}
		default:
			c.section(l.pageType(s.Kind), s)
		}
	}
	for _, s := range last {
		c.section(PageCPUID, s)
	}
	return nil
}

// pageType is how a section without contents is launched.
func (l Launch) pageType(k SectionKind) PageType {
	switch {
	case k == SectionSecrets:
		return PageSecrets
	case k == SectionCPUID:
		return PageCPUID
	case k == SectionMemory && l.VMM == GCE:
		return PageUnmeasured
	}
	return PageZero
}

// section extends the digest by a section whose contents do not count.
func (c *Context) section(t PageType, s Section) {
	for off := uint32(0); off < s.Size; off += PageSize {
		c.page(t, uint64(s.Address)+uint64(off), Digest{})
	}
}

// hashPage is the page with the kernel hashes, nil without any.
func (l Launch) hashPage(fw *Firmware) ([]byte, error) {
	if l.Kernel == nil {
		return nil, nil
	}
	if l.VMM == GCE {
		return nil, errors.New("measure: GCE boots from a disk and launches no kernel hashes")
	}
	s, ok := fw.section(SectionKernelHashes)
	if !ok || fw.HashTable == nil {
		return nil, errors.New("measure: the firmware has no place for kernel hashes (a build of OVMF's AmdSev flavour has)")
	}
	if fw.HashTable.Address&^(PageSize-1) != s.Address {
		return nil, fmt.Errorf("measure: kernel hash table: got address %#x, want one in the page at %#x", fw.HashTable.Address, s.Address)
	}
	if need := uint32(len(l.Kernel.Table())); fw.HashTable.Size < need {
		return nil, fmt.Errorf("measure: kernel hash table: got room for %d bytes, want %d", fw.HashTable.Size, need)
	}
	return l.Kernel.Page(int(fw.HashTable.Address % PageSize))
}
