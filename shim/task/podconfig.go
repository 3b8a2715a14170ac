package task

import (
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/protobuf/encoding/protowire"
)

// podConfig is what is used of a PodSandboxConfig of the CRI (runtime.v1). Its Go package alone would cost the shim a megabyte.
type podConfig struct {
	name, uid, namespace, hostname, logDirectory string

	annotations, sysctls       map[string]string
	servers, searches, options []string // of resolv.conf
	cgroupParent               string
	resources                  *podResources
}

// podResources are the limits of a whole pod: microseconds, shares and bytes.
type podResources struct{ period, quota, shares, memory int64 }

// field calls f for each field of a message. The value of a length-delimited one is in data, of a varint in n; others are skipped.
func field(message []byte, f func(number protowire.Number, data []byte, n uint64) error) error {
	for len(message) > 0 {
		number, kind, size := protowire.ConsumeTag(message)
		if size < 0 {
			return protowire.ParseError(size)
		}
		message = message[size:]
		var data []byte
		var n uint64
		switch kind {
		case protowire.BytesType:
			data, size = protowire.ConsumeBytes(message)
			if data == nil {
				data = []byte{}
			}
		case protowire.VarintType:
			n, size = protowire.ConsumeVarint(message)
		default:
			size = protowire.ConsumeFieldValue(number, kind, message)
		}
		if size < 0 {
			return protowire.ParseError(size)
		}
		message = message[size:]
		if err := f(number, data, n); err != nil {
			return fmt.Errorf("field %d: %w", number, err)
		}
	}
	return nil
}

// parsePodConfig reads the message. A field of another type than the CRI's is as one that is not there.
func parsePodConfig(message []byte) (*podConfig, error) {
	c := &podConfig{annotations: map[string]string{}, sysctls: map[string]string{}}
	err := field(message, func(number protowire.Number, data []byte, _ uint64) error {
		switch number {
		case 1: // metadata
			return field(data, func(number protowire.Number, data []byte, _ uint64) error {
				if to := map[protowire.Number]*string{1: &c.name, 2: &c.uid, 3: &c.namespace}[number]; to != nil {
					*to = string(data)
				}
				return nil
			})
		case 2:
			c.hostname = string(data)
		case 3:
			c.logDirectory = string(data)
		case 4: // dns_config
			return field(data, func(number protowire.Number, data []byte, _ uint64) error {
				if to := map[protowire.Number]*[]string{1: &c.servers, 2: &c.searches, 3: &c.options}[number]; to != nil {
					*to = append(*to, string(data))
				}
				return nil
			})
		case 7:
			return entry(data, c.annotations)
		case 8:
			return c.parseLinux(data)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("pod configuration: %w", err)
	}
	return c, nil
}

func (c *podConfig) parseLinux(message []byte) error {
	return field(message, func(number protowire.Number, data []byte, _ uint64) error {
		switch number {
		case 1:
			c.cgroupParent = string(data)
		case 3:
			return entry(data, c.sysctls)
		case 5:
			c.resources = &podResources{}
			return field(data, func(number protowire.Number, _ []byte, n uint64) error {
				r := c.resources
				if to := map[protowire.Number]*int64{1: &r.period, 2: &r.quota, 3: &r.shares, 4: &r.memory}[number]; to != nil {
					*to = int64(n)
				}
				return nil
			})
		}
		return nil
	})
}

// entry adds an entry of a map of strings.
func entry(message []byte, to map[string]string) error {
	var key, value string
	err := field(message, func(number protowire.Number, data []byte, _ uint64) error {
		switch number {
		case 1:
			key = string(data)
		case 2:
			value = string(data)
		}
		return nil
	})
	to[key] = value
	return err
}

// spec makes the specification that containerd's own sandboxer would have written for the pod's sandbox container, as far as a pod is made of it. Its
// resolv.conf is in dir.
func (c *podConfig) spec(id, netns, dir string) *specs.Spec {
	annotations := maps.Clone(c.annotations)
	maps.Copy(annotations, map[string]string{
		"io.kubernetes.cri.container-type":        "sandbox",
		"io.kubernetes.cri.sandbox-id":            id,
		"io.kubernetes.cri.sandbox-name":          c.name,
		"io.kubernetes.cri.sandbox-namespace":     c.namespace,
		"io.kubernetes.cri.sandbox-uid":           c.uid,
		"io.kubernetes.cri.sandbox-log-directory": c.logDirectory,
	})
	if r := c.resources; r != nil {
		for name, n := range map[string]int64{"cpu-period": r.period, "cpu-quota": r.quota, "cpu-shares": r.shares, "memory": r.memory} {
			annotations["io.kubernetes.cri.sandbox-"+name] = strconv.FormatInt(n, 10)
		}
	}
	namespaces := []specs.LinuxNamespace{{Type: specs.MountNamespace}, {Type: specs.PIDNamespace}, {Type: specs.IPCNamespace}, {Type: specs.UTSNamespace}}
	if netns != "" {
		namespaces = append(namespaces, specs.LinuxNamespace{Type: specs.NetworkNamespace, Path: netns})
	}
	return &specs.Spec{
		Version:     specs.Version,
		Hostname:    c.hostname,
		Annotations: annotations,
		Process:     &specs.Process{Cwd: "/", Args: []string{"/pause"}, NoNewPrivileges: true},
		Root:        &specs.Root{Path: "rootfs", Readonly: true},
		Mounts: []specs.Mount{{
			Destination: "/etc/resolv.conf", Type: "bind", Source: filepath.Join(dir, resolvConf), Options: []string{"rbind", "ro", "nosuid", "nodev", "noexec"},
		}},
		Linux: &specs.Linux{Namespaces: namespaces, Sysctl: c.sysctls, CgroupsPath: cgroupsPath(c.cgroupParent, id), Resources: &specs.LinuxResources{}},
	}
}

const resolvConf = "resolv.conf"

// writeResolvConf writes the file that spec names.
func (c *podConfig) writeResolvConf(dir string) error {
	var text strings.Builder
	if len(c.searches) > 0 {
		fmt.Fprintf(&text, "search %s\n", strings.Join(c.searches, " "))
	}
	for _, s := range c.servers {
		fmt.Fprintf(&text, "nameserver %s\n", s)
	}
	if len(c.options) > 0 {
		fmt.Fprintf(&text, "options %s\n", strings.Join(c.options, " "))
	}
	return os.WriteFile(filepath.Join(dir, resolvConf), []byte(text.String()), 0o644)
}

// cgroupsPath is the sandbox's control group below its pod's, in the form of systemd's driver where the parent is a slice.
func cgroupsPath(parent, id string) string {
	if parent == "" {
		return ""
	}
	if base := path.Base(parent); strings.HasSuffix(base, ".slice") {
		return base + ":cri-containerd:" + id
	}
	return path.Join(parent, id)
}
