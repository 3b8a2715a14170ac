// Package shape holds tables of what a reader understands of a document, checks documents against them and reads values by
// them.
//
// One table does all three, so that nothing can be read that is not listed, and nothing that is not listed passes: a member
// that the table has not is an error with its file, line and path. The lists in docs/inputs.md are the same tables.
package shape
