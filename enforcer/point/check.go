package point

import (
	"errors"
	"fmt"
	"unicode/utf8"
)

// Limits of one input. A request is bounded by its frame already; these bound what a judge gets from any caller.
const (
	MaxInputBytes   = 4 << 20
	MaxInputStrings = 1 << 16
)

// ErrInput means that an input is not what a policy can be asked about.
var ErrInput = errors.New("input")

// Check refuses an input with strings that are not UTF-8, or with more of them than a judge is to look at. Text that is not
// UTF-8 has no one meaning: a pattern, a comparison and a log may each see another string.
func Check(in Input) error {
	c := checker{}
	c.input(in)
	return c.err
}

type checker struct {
	strings, bytes int
	err            error
}

func (c *checker) input(in Input) {
	switch in := in.(type) {
	case MountDeviceInput:
		c.text("input", in.Target, in.DeviceHash, in.MountPathRegex)
	case RWMountDeviceInput:
		c.text("input", in.Target, in.Filesystem, in.MountPathRegex)
	case MountBlockDevInput:
		c.text("target", in.Target)
	case UnmountDeviceInput:
		c.text("unmountTarget", in.UnmountTarget)
	case RWUnmountDeviceInput:
		c.text("unmountTarget", in.UnmountTarget)
	case UnmountBlockDevInput:
		c.text("unmountTarget", in.UnmountTarget)
	case UnmountOverlayInput:
		c.text("unmountTarget", in.UnmountTarget)
	case ScratchUnmountInput:
		c.text("unmountTarget", in.UnmountTarget)
	case Plan9UnmountInput:
		c.text("unmountTarget", in.UnmountTarget)
	case ScratchMountInput:
		c.text("target", in.Target)
	case Plan9MountInput:
		c.text("input", in.RootPrefix, in.MountPathPrefix, in.Target)
	case MountOverlayInput:
		c.text("input", in.ContainerID, in.Target)
		c.text("layerPaths", in.LayerPaths...)
	case CreateContainerInput:
		c.create(&in)
	case ExecInContainerInput:
		c.text("input", in.ContainerID, in.WorkingDir, in.Umask)
		c.process(in.ArgList, in.EnvList, in.User, in.Groups, &in.Capabilities)
	case ExecExternalInput:
		c.text("workingDir", in.WorkingDir)
		c.process(in.ArgList, in.EnvList, User{}, nil, &Capabilities{})
	case SignalContainerProcessInput:
		c.text("containerID", in.ContainerID)
		c.text("argList", in.ArgList...)
	case ShutdownContainerInput:
		c.text("containerID", in.ContainerID)
	default:
		c.rest(in)
	}
}

// rest are the inputs of points that no request of a Linux container leads to.
func (c *checker) rest(in Input) {
	switch in := in.(type) {
	case LoadFragmentInput:
		c.text("input", in.Issuer, in.Feed, in.Namespace)
		for _, r := range in.Receipts {
			c.text("receipts", r.Issuer)
			c.text("receipts", r.TTLSubjects...)
		}
	case LoadTransparencyTrustListInput:
		c.text("input", in.Issuer, in.Subject)
		c.text("ledgers", in.Ledgers...)
	case MountCIMsInput:
		c.text("containerID", in.ContainerID)
		c.text("layerHashes", in.LayerHashes...)
		c.text("mountedCim", in.MountedCIM...)
	case RegistryChangesInput:
		c.text("registryChanges", in.ContainerID, string(in.RegistryChanges))
	case LogProviderInput:
		c.text("providers", in.Providers...)
	}
}

func (c *checker) create(in *CreateContainerInput) {
	c.text("input", in.ContainerID, in.WorkingDir, in.SandboxDir, in.HugePagesDir, in.Umask, in.SeccompProfileSHA256)
	c.process(in.ArgList, in.EnvList, in.User, in.Groups, &in.Capabilities)
	for i := range in.Mounts {
		m := &in.Mounts[i]
		c.text("mounts", m.Destination, m.Source, m.Type)
		c.text("mounts", m.Options...)
	}
	for i := range in.Devices {
		c.text("devices", in.Devices[i].Path, in.Devices[i].Type)
	}
}

func (c *checker) process(args, env []string, user User, groups []User, caps *Capabilities) {
	c.text("argList", args...)
	c.text("envList", env...)
	c.text("user", user.ID, user.Name)
	for i := range groups {
		c.text("groups", groups[i].ID, groups[i].Name)
	}
	for _, set := range [...][]string{caps.Bounding, caps.Effective, caps.Inheritable, caps.Permitted, caps.Ambient} {
		c.text("capabilities", set...)
	}
}

func (c *checker) text(field string, list ...string) {
	c.strings += len(list)
	for _, s := range list {
		c.bytes += len(s)
		if c.err == nil && !utf8.ValidString(s) {
			c.err = fmt.Errorf("%w: %s: not UTF-8", ErrInput, field)
		}
	}
	if c.err == nil && (c.bytes > MaxInputBytes || c.strings > MaxInputStrings) {
		c.err = fmt.Errorf("%w: %s: got more than %d strings or %d bytes", ErrInput, field, MaxInputStrings, MaxInputBytes)
	}
}
