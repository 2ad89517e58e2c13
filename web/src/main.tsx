import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { App } from "./app";
import { AppStateProvider } from "./app-state";
import { startStream } from "./stream/live";
import "./ui/base.css";
import { startTheme } from "./ui/theme";

startTheme();
startStream();

createRoot(document.getElementById("root") as HTMLElement).render(
  <StrictMode>
    <AppStateProvider>
      <App />
    </AppStateProvider>
  </StrictMode>,
);
