// Package arm reads the deployment templates of Azure's resource manager: container groups and container group profiles.
package arm
