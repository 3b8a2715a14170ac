package storage

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/cloister-cc/cloister/verity/dm"
)

// tree makes a sysfs of paths and their content: "dir" is a directory, "->x" a link to x, anything else a file of one line. A file is there
// with its content or not at all, as in the kernel's: whoever waits for it is woken by events of other devices too.
func tree(t *testing.T, root string, paths map[string]string) {
	t.Helper()
	for path, content := range paths {
		full := filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		switch {
		case content == "dir":
			err = os.MkdirAll(full, 0o755)
		case len(content) > 2 && content[:2] == "->":
			err = os.Symlink(content[2:], full)
		default:
			whole := filepath.Join(root, "being-written")
			if err = os.WriteFile(whole, []byte(content+"\n"), 0o644); err == nil {
				err = os.Rename(whole, full)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestFind(t *testing.T) {
	scsi := map[string]string{
		"class/scsi_host/host0/proc_name":  "ahci",
		"class/scsi_host/host2/proc_name":  "virtio_scsi",
		"devices/x/2:0:0:3/block/sdb/dev":  "8:16",
		"devices/x/2:0:0:13/block/sdc/dev": "8:32",
		"devices/y/0:0:0:5/block/sda/dev":  "8:0",
		"devices/x/2:0:0:6":                "dir",
		"devices/x/2:0:0:7/block/sr0/dev":  "11:0",
		"devices/x/2:0:0:8/block/sdd/dev":  "8:x",
		"bus/scsi/devices/2:0:0:3":         "->../../../devices/x/2:0:0:3",
		"bus/scsi/devices/2:0:0:13":        "->../../../devices/x/2:0:0:13",
		"bus/scsi/devices/0:0:0:5":         "->../../../devices/y/0:0:0:5",
		"bus/scsi/devices/2:0:0:6":         "->../../../devices/x/2:0:0:6",
		"bus/scsi/devices/2:0:0:7":         "->../../../devices/x/2:0:0:7",
		"bus/scsi/devices/2:0:0:8":         "->../../../devices/x/2:0:0:8",
		"bus/scsi/devices/target2:0:0":     "dir",
		"bus/scsi/devices/host2":           "dir",
		"bus/scsi/devices/2:1:0:3":         "dir",
		"class/scsi_host/host3/proc_name":  "virtio_scsi",
		"devices/z/3:0:0:9/block/sde/dev":  "8:64",
		"devices/x/2:0:0:9/block/sdf/dev":  "8:80",
		"bus/scsi/devices/3:0:0:9":         "->../../../devices/z/3:0:0:9",
		"bus/scsi/devices/2:0:0:9":         "->../../../devices/x/2:0:0:9",
		"bus/virtio/drivers/virtio_blk/x":  "",
		"bus/virtio/drivers/virtio_net/x":  "",
	}
	const port, dev = "devices/pci0000:00/0000:00:02.0/", "devices/pci0000:00/0000:00:02.0/0000:01:01.0/"
	blk := map[string]string{
		port + "pci_bus/0000:01":                                                "dir",
		dev + "virtio5/driver":                                                  "->../../../../../bus/virtio/drivers/virtio_blk",
		dev + "virtio5/block/vda/dev":                                           "254:0",
		"devices/pci0000:00/0000:00:04.0/virtio6/driver":                        "->../../../../bus/virtio/drivers/virtio_blk",
		"devices/pci0000:00/0000:00:04.0/virtio6/block/vdb/dev":                 "254:16",
		"devices/pci0000:00/0000:00:05.0/virtio7/driver":                        "->../../../../bus/virtio/drivers/virtio_net",
		"devices/pci0000:00/0000:00:06.0/virtio8":                               "dir",
		"devices/pci0000:00/0000:00:07.1/virtio9/driver":                        "->../../../../bus/virtio/drivers/virtio_blk",
		"devices/pci0000:00/0000:00:07.1/virtio9/block/vdc/dev":                 "254:32",
		"devices/pci0000:00/0000:00:08.0/virtio10/driver":                       "->../../../../bus/virtio/drivers/virtio_blk",
		"devices/pci0000:00/0000:00:08.0/virtio10/block/vdd/dev":                "254:48",
		"devices/pci0000:00/0000:00:08.0/virtio10/block/vde/dev":                "254:64",
		"devices/pci0000:00/0000:00:09.0/virtio11/driver":                       "->../../../../bus/virtio/drivers/virtio_blk",
		"devices/pci0000:00/0000:00:0a.0/ata1/block/sda/dev":                    "8:0",
		"devices/pci0000:00/0000:00:0b.0/pci_bus/0000:02":                       "dir",
		"devices/pci0000:00/0000:00:0b.0/0000:02:00.0/pci_bus/0000:03":          "dir",
		"devices/pci0000:00/0000:00:0b.0/0000:02:00.0/0000:03:04.0/virtio12/x":  "",
		"devices/pci0000:00/0000:00:0b.0/0000:02:00.0/0000:04:04.0/virtio12/x":  "",
		"devices/pci0000:00/0000:00:0b.0/0000:02:00.0/0000:03:05.0/virtio12/x1": "",
	}
	root := t.TempDir()
	tree(t, root, scsi)
	tree(t, root, blk)
	for _, c := range []struct {
		name, driver, source string
		want                 found
		err                  error
	}{
		{"scsi", "scsi", "0:3", found{"sdb", dm.Number{Major: 8, Minor: 16}}, nil},
		{"scsi-longer-number", "scsi", "0:13", found{"sdc", dm.Number{Major: 8, Minor: 32}}, nil},
		{"scsi-absent", "scsi", "0:4", found{}, errNotYet},
		{"scsi-on-sata", "scsi", "0:5", found{}, errNotYet},
		{"scsi-without-block-device", "scsi", "0:6", found{}, errNotYet},
		{"scsi-cdrom", "scsi", "0:7", found{}, ErrDisk},
		{"scsi-malformed-number", "scsi", "0:8", found{}, ErrDisk},
		{"scsi-on-two-controllers", "scsi", "0:9", found{}, ErrDisk},
		{"blk-behind-port", "blk", "02/01", found{"vda", dm.Number{Major: 254}}, nil},
		{"blk-on-root-bus", "blk", "04", found{"vdb", dm.Number{Major: 254, Minor: 16}}, nil},
		{"blk-function", "blk", "07.1", found{"vdc", dm.Number{Major: 254, Minor: 32}}, nil},
		{"blk-other-driver", "blk", "05", found{}, ErrDisk},
		{"blk-driver-not-bound", "blk", "06", found{}, errNotYet},
		{"blk-two-disks", "blk", "08", found{}, ErrDisk},
		{"blk-no-disk-yet", "blk", "09", found{}, errNotYet},
		{"blk-not-virtio", "blk", "0a", found{}, errNotYet},
		{"blk-absent", "blk", "02/02", found{}, errNotYet},
		{"blk-absent-port", "blk", "03/01", found{}, errNotYet},
		{"blk-port-without-bus", "blk", "04/01", found{}, errNotYet},
		{"blk-deep-not-bound", "blk", "0b/00/04", found{}, errNotYet},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, err := ParseAddress(c.driver, c.source)
			if err != nil {
				t.Fatal(err)
			}
			got, err := sysfs{root}.find(a)
			if got != c.want || !errors.Is(err, c.err) {
				t.Errorf("got %+v, %v, want %+v, %v", got, err, c.want, c.err)
			}
		})
	}
}
