package kmiptest

import _ "github.com/ovh/kmip-go/kmipserver"
