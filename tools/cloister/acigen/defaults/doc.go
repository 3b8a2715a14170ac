// Package defaults has the two kinds of data files that a policy is made with: levels, which say how the text of a policy
// of a given age looks, and defaults, which say what the platform adds to each container. All files are embedded; a file of
// defaults can be replaced by the user's own. A file with a member that is not known is refused.
package defaults
