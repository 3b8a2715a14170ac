package rpc

import (
	"regexp"
	"slices"
	"strings"

	"github.com/cloister-cc/cloister/agent/api"
	"github.com/cloister-cc/cloister/agent/storage"
)

// rootfs is what the storages of a create request describe: layers, top first, the disk for the writable layer if there is one, and the host's word for
// the overlay.
type rootfs struct {
	mountPoint string
	layers     []storage.Address
	scratch    *storage.Address
}

// maxLayers is what the kernel's overlay takes with room to spare.
const maxLayers = 128

// layerOptions are the options of a layer's disk (agent API contract section 5). The parameters of the hash tree are pinned:
// the words may be said, and must then say what the agent does anyway. The root hash is the host's word, and only the one
// computed from the disk is put to the policy.
var layerOptions = []*regexp.Regexp{
	regexp.MustCompile(`^ro$`),
	regexp.MustCompile(`^X-kata\.overlay-lower$`),
	regexp.MustCompile(`^X-kata\.multi-layer=true$`),
	regexp.MustCompile(`^X-kata\.dmverity-enabled=true$`),
	regexp.MustCompile(`^X-kata\.dmverity\.roothash=[0-9a-f]{64}$`),
	regexp.MustCompile(`^X-kata\.dmverity\.hashoffset=[0-9]{1,19}$`),
	regexp.MustCompile(`^X-kata\.dmverity\.blocksize=4096$`),
	regexp.MustCompile(`^X-kata\.dmverity\.hashsize=4096$`),
	regexp.MustCompile(`^X-kata\.dmverity\.algorithm=sha256$`),
	regexp.MustCompile(`^X-kata\.dmverity\.salt=0{64}$`),
	regexp.MustCompile(`^X-kata\.dmverity\.hashtype=1$`),
	regexp.MustCompile(`^X-kata\.dmverity\.no-superblock=false$`),
}

// upperOption marks the disk that holds the writable layer. It is the agent's to encrypt and to format: nothing is said about it but that it is writable.
const upperOption = "X-kata.overlay-upper"

var upperOptions = []string{"rw", upperOption, "X-kata.multi-layer=true"}

// parseStorages reads the storages of one create request. Mount points only link them to each other: they are compared, never
// opened, and one that appears twice or is linked to nothing is refused.
func parseStorages(in []*api.Storage) (rootfs, error) {
	var out rootfs
	if len(in) == 0 {
		return out, nil
	}
	if len(in) > maxLayers+2 {
		return out, bad("storages: got %d, want at most %d", len(in), maxLayers+2)
	}
	disks := map[string]storage.Address{}
	var overlay *api.Storage
	upper := "" // the mount point of the disk for the writable layer
	for i, s := range in {
		if s == nil || len(s.DriverOptions) > 0 || s.FsGroup != nil || s.Shared {
			return out, bad("storages[%d]: driver_options, fs_group and shared are not supported", i)
		}
		if !strings.HasPrefix(s.MountPoint, "/") || len(s.MountPoint) > 4095 {
			return out, bad("storages[%d].mount_point: is not an absolute path", i)
		}
		if _, twice := disks[s.MountPoint]; twice || overlay != nil && overlay.MountPoint == s.MountPoint || s.MountPoint == upper {
			return out, bad("storages[%d].mount_point: is used twice in the request", i)
		}
		switch s.Driver {
		case "scsi", "blk":
			if slices.Contains(s.Options, upperOption) {
				if upper != "" {
					return out, bad("storages[%d]: a second writable layer", i)
				}
				a, err := parseUpper(i, s)
				if err != nil {
					return out, err
				}
				upper, out.scratch = s.MountPoint, &a
				continue
			}
			a, err := parseLayer(i, s)
			if err != nil {
				return out, err
			}
			disks[s.MountPoint] = a
		case "overlayfs":
			if overlay != nil {
				return out, bad("storages[%d]: a second overlay", i)
			}
			overlay = s
		default:
			return out, bad("storages[%d].driver: %.32q is not supported", i, s.Driver)
		}
	}
	if overlay == nil {
		return out, bad("storages: no overlay storage")
	}
	lowers, err := overlayLowers(overlay)
	if err != nil {
		return out, err
	}
	for _, l := range lowers {
		a, ok := disks[l]
		if !ok {
			return out, bad("storages: the overlay names a lower directory that is no layer of the request, or names one twice")
		}
		delete(disks, l)
		out.layers = append(out.layers, a)
	}
	if len(disks) > 0 {
		return out, bad("storages: %d layers are not part of the overlay", len(disks))
	}
	out.mountPoint = overlay.MountPoint
	return out, nil
}

// layerFileSystems are those a layer can have. Which one it has is read from the disk.
var layerFileSystems = []string{"ext4", "erofs"}

func parseLayer(i int, s *api.Storage) (storage.Address, error) {
	return parseDisk(i, s, layerFileSystems, func(option string) bool {
		return slices.ContainsFunc(layerOptions, func(r *regexp.Regexp) bool { return r.MatchString(option) })
	})
}

func parseUpper(i int, s *api.Storage) (storage.Address, error) {
	return parseDisk(i, s, []string{"ext4"}, func(option string) bool { return slices.Contains(upperOptions, option) })
}

func parseDisk(i int, s *api.Storage, fileSystems []string, allowed func(option string) bool) (storage.Address, error) {
	if !slices.Contains(fileSystems, s.Fstype) {
		return storage.Address{}, bad("storages[%d].fstype: got %.32q, want %s", i, s.Fstype, strings.Join(fileSystems, " or "))
	}
	for _, o := range s.Options {
		if !allowed(o) {
			return storage.Address{}, bad("storages[%d].options: %.64q is not on the list", i, o)
		}
	}
	a, err := storage.ParseAddress(s.Driver, s.Source)
	if err != nil {
		return storage.Address{}, bad("storages[%d].source: %v", i, err)
	}
	return a, nil
}

// overlayLowers reads lowerdir=, top first.
func overlayLowers(s *api.Storage) ([]string, error) {
	var lowers []string
	for _, o := range s.Options {
		list, ok := strings.CutPrefix(o, "lowerdir=")
		if !ok || lowers != nil {
			return nil, bad("storages: overlay option %.64q: want one lowerdir= and nothing else", o)
		}
		lowers = strings.Split(list, ":")
	}
	if len(lowers) == 0 {
		return nil, bad("storages: the overlay has no lowerdir=")
	}
	return lowers, nil
}
