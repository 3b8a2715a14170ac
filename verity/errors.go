package verity

import (
	"errors"
	"fmt"
)

var (
	// ErrFormat marks a disk whose bytes are not an acceptable verity disk. No retry can help.
	ErrFormat = errors.New("not an acceptable verity disk")
	// ErrChanged marks a disk or a table that differs from what was inspected: somebody changed it in between.
	ErrChanged = errors.New("differs from what was inspected")
)

// CorruptError says which block of a disk does not match its tree.
type CorruptError struct {
	Data  bool   // a data block; else a block of the tree
	Block uint64 // counted from the start of the data area or of the tree
}

func (e *CorruptError) Error() string {
	if e.Data {
		return fmt.Sprintf("data block %d does not match its hash in the tree", e.Block)
	}
	return fmt.Sprintf("tree block %d does not match the blocks below it", e.Block)
}

// Is makes a CorruptError an ErrFormat for callers that do not care where.
func (e *CorruptError) Is(target error) bool { return target == ErrFormat }
