package wire

// Access of a cluster admin.
const (
	AccessAdministrator = "administrator" // everything
	AccessRead          = "read"          // only methods that change nothing
)

// AddClusterAdminParams makes a user.
type AddClusterAdminParams struct {
	Username   string         `json:"username" param:"required"`
	Password   Password       `json:"password" param:"required"`
	Access     []string       `json:"access" param:"required"`
	AcceptEula bool           `json:"acceptEula,omitempty"` // taken, has no effect
	Attributes map[string]any `json:"attributes,omitempty"`
}

// AddClusterAdminResult holds the new user's id.
type AddClusterAdminResult struct {
	ClusterAdminID int64 `json:"clusterAdminID"`
}

// ListClusterAdminsResult holds users.
type ListClusterAdminsResult struct {
	ClusterAdmins []ClusterAdmin `json:"clusterAdmins"`
}

// ClusterAdmin is Element's object of that name.
type ClusterAdmin struct {
	Access         []string       `json:"access"`
	Attributes     map[string]any `json:"attributes"`
	AuthMethod     string         `json:"authMethod"` // "Cluster"
	ClusterAdminID int64          `json:"clusterAdminID"`
	Username       string         `json:"username"`
}

// ModifyClusterAdminParams changes what is given.
type ModifyClusterAdminParams struct {
	ClusterAdminID Int      `json:"clusterAdminID" param:"required"`
	Password       Password `json:"password,omitempty"`
	Access         []string `json:"access,omitempty"`
}

// RemoveClusterAdminParams removes a user.
type RemoveClusterAdminParams struct {
	ClusterAdminID Int `json:"clusterAdminID" param:"required"`
}
