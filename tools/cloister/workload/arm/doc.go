// Package arm reads the deployment templates of Azure's resource manager: container groups and container group profiles,
// with the template's parameters, variables, functions, conditions, loops and inner templates.
//
// A template is its author's own, and mistakes in it are the danger: what the package does not understand it refuses by its
// path, expressions it cannot compute too. A value that exists at deployment time only becomes a wildcard where a string is
// wanted, so that somebody has to agree to it, and is an error everywhere else. Work on hostile files is bounded.
//
// Insert writes a policy into a template and changes no other byte: comments, order and spacing are the author's.
package arm
