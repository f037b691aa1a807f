"""The pages of the app. Streamlit lists the numbered files; `ui` holds what they share."""
