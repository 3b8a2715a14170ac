package layer

import (
	"fmt"
	"io"

	"github.com/Microsoft/hcsshim/ext4/tar2ext4"
)

// maxDiskSize is an input of the image's layout, not only a limit: the group descriptors are laid out for it. ACI's tools use
// this number; another one gives other roots.
const maxDiskSize = 128 << 30

// refusePanic makes a panic of a converter an error: both are other people's code over bytes from anywhere, and a node converts
// the layers of many pods.
func refusePanic(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("the converter cannot take this layer: %v", r)
	}
}

// writeExt4 makes the file system that ACI's tools make of the tar.
func writeExt4(tar io.Reader, disk io.ReadWriteSeeker) (err error) {
	defer refusePanic(&err)
	if err := tar2ext4.ConvertTarToExt4(tar, disk, tar2ext4.ConvertWhiteout, tar2ext4.MaximumDiskSize(maxDiskSize)); err != nil {
		return fmt.Errorf("make ext4: %w", err)
	}
	return nil
}
