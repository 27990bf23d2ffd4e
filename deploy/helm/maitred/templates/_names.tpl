{{/* The names and labels that all objects share. */}}

{{- define "maitred.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "maitred.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 57 | trimSuffix "-" -}}
{{- else if contains (include "maitred.name" .) .Release.Name -}}
{{- .Release.Name | trunc 57 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "maitred.name" .) | trunc 57 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "maitred.selector" -}}
app.kubernetes.io/name: {{ include "maitred.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "maitred.labels" -}}
{{ include "maitred.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "maitred.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "maitred.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "maitred.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{/* How a probe asks: over the network where that is allowed, else inside the container. */}}
{{- define "maitred.probe" -}}
{{- if .root.Values.admin.existingSecret -}}
httpGet:
  path: {{ .path }}
  port: admin
{{- else -}}
exec:
  command: ["/usr/bin/maitred", "status", "--quiet"]
{{- end }}
timeoutSeconds: 3
{{- end -}}
