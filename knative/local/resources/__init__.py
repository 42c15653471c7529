"""The Knative resources that a kustomization holds, read strictly."""
