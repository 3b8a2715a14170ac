//go:build !linux

package verity

import (
	"errors"
	"os"

	"github.com/cloister-cc/cloister/verity/dm"
)

func blockNumber(*os.File) (dm.Number, error) { return dm.Number{}, errors.ErrUnsupported }
