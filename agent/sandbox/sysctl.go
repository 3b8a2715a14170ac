package sandbox

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
)

// setSysctls sets what a container asks of its network, after the form check has left two harmless names. The network is the whole guest's and the pod is alone in it; the
// runtime sets only what belongs to a namespace that it makes itself, and refuses a container with others.
func (s *Sandbox) setSysctls(values map[string]string, u *undo) error {
	for _, name := range slices.Sorted(maps.Keys(values)) {
		path := s.fs("/proc/sys/" + strings.ReplaceAll(name, ".", "/"))
		old, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("read sysctl: %w", err)
		}
		if err := writeSysctl(path, []byte(values[name])); err != nil {
			return invalid("OCI.Linux.Sysctl[%s]: the kernel does not take the value", name)
		}
		u.push(func(context.Context) error { return writeSysctl(path, bytes.TrimSpace(old)) })
	}
	return nil
}

// writeSysctl writes in one call, as the kernel wants it, to a file that must be there.
func writeSysctl(path string, value []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.Write(value)
	return err
}
