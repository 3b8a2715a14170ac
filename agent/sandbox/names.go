package sandbox

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/cloister-cc/cloister/agent/staging"
)

// Patterns of names, as the policy is told them (policy contract 2.2).
const LayerPathRegex = `/run/mounts/scsi/m[0-9]+`

var (
	idForm  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]*$`) // and at most maxID bytes
	keyForm = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

// maxID is the length of an id, in bytes (docs/architecture.md).
const maxID = 128

// CheckID says whether a container, sandbox or exec id has the form that ids have. Ids are never used as paths.
func CheckID(kind, id string) error {
	if len(id) > maxID || !idForm.MatchString(id) {
		return invalid("%s id %.128q: want %s, at most %d bytes", kind, id, idForm, maxID)
	}
	return nil
}

// Key is the name under which the agent knows a container (docs/architecture.md): the id when it is 64 lower-case hex digits,
// else the id's SHA-256.
func Key(id string) string {
	if keyForm.MatchString(id) {
		return id
	}
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:])
}

// The names put to the policy. They are the guest's real paths, below Config.Prefix when a test sets one.

func layerName(n uint64) string      { return fmt.Sprintf("/run/mounts/scsi/m%d", n) }
func containerDir(key string) string { return "/run/gcs/c/" + key }
func bundleDir(key string) string    { return containerDir(key) + "/bundle" }
func scratchName(key string) string  { return containerDir(key) + "/scratch/" + key }
func rootfsName(key string) string   { return containerDir(key) + "/rootfs" }
func sandboxDir(key string) string   { return containerDir(key) + "/sandboxMounts" }
func hugePagesDir(key string) string { return containerDir(key) + "/hugepages" }
func hostsName(key string) string    { return containerDir(key) + "/hosts" }
func hostnameName(key string) string { return containerDir(key) + "/hostname" }
func resolvName(key string) string   { return containerDir(key) + "/resolv.conf" }
func securityContextDir(key string) string {
	return containerDir(key) + "/security-context"
}
func cgroupName(key string) string    { return "/cloister/" + key }
func (s *Sandbox) fs(p string) string { return filepath.Join(s.cfg.Prefix, p) }

// sharedName is the last part of a copied file's name, which stands for it in the policy: the parts before hold an id and a
// random number.
func sharedName(source string) (entry, name string, ok bool) {
	if !strings.HasPrefix(source, staging.SharedDir) {
		return "", "", false
	}
	n, err := staging.ParseName(source)
	return n.Entry, n.Base, err == nil
}
